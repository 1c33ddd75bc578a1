//! Which characters of evidence may be shown as they are. Evidence is shown to people before it is
//! believed.

/// Whether a character could steer a terminal, hide, or change the order in which its neighbours are
/// read: control characters, line separators, what is invisible, and everything that is written from
/// right to left, which turns round the digits and points beside it.
pub(crate) fn steers(c: char) -> bool {
    c.is_control() || is_invisible(c) || is_right_to_left(c)
}

/// Separators, marks of direction, fillers and joiners (Unicode, `Default_Ignorable_Code_Point` and
/// `Bidi_Control`); and the one pattern of Braille without dots.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}' | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The blocks of scripts from right to left (Unicode, `DerivedBidiClass`: R and AL, the unassigned
/// among them).
const fn is_right_to_left(c: char) -> bool {
    matches!(
        c,
        '\u{590}'..='\u{8ff}' | '\u{fb1d}'..='\u{fdff}' | '\u{fe70}'..='\u{fefe}'
            | '\u{10800}'..='\u{10fff}' | '\u{1e800}'..='\u{1efff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_turns_or_hides_text_steers_and_letters_do_not() {
        for c in [
            '\u{1b}',
            '\u{9b}',
            '\u{202e}',
            '\u{2028}',
            '\u{e0041}',
            '\u{3164}',
            '\u{115f}',
            '\u{1160}',
            '\u{ffa0}',
            '\u{17b4}',
            '\u{2800}',
            '\u{5d0}',
            '\u{627}',
            '\u{661}',
            '\u{1e900}',
            '\u{fe0f}',
        ] {
            assert!(steers(c), "{c:?}");
        }
        for c in [
            'a', '0', ' ', '.', '\u{e9}', '\u{17f}', '\u{436}', '\u{4e2d}', '\u{fffd}',
        ] {
            assert!(!steers(c), "{c:?}");
        }
    }
}

//! The codec of every RPC: protobuf, strictly.
//!
//! prost drops unknown fields and lets the last of a repeated singular field win. A caller that
//! sends a field this version does not know would believe it was honoured, and two parsers that
//! disagree about a doubled field can be played against each other. So every message is held against
//! its compiled descriptor before it is decoded.

use std::collections::{HashMap, HashSet};
use std::marker::PhantomData;
use std::sync::LazyLock;

use prost::bytes::Buf;
use prost::encoding::{WireType, decode_key, decode_varint};
use prost::{Message, Name};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FileDescriptorSet};
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstEncoder};

use super::status::{bad_request, status_with};
use crate::reason::Reason;

/// The compiled protos, for reflection and for the scan.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/assay.binpb"));

/// Deepest nesting of messages; the deepest of ours is 4.
const DEPTH_MAX: usize = 8;

/// What is known of one message: field number to its shape.
type Shape = HashMap<u32, Field>;

#[derive(Debug, Clone)]
struct Field {
    name: String,
    repeated: bool,
    kind: Type,
    /// Full name of the message it holds.
    message: Option<String>,
    /// The `oneof` it belongs to.
    oneof: Option<i32>,
}

static SHAPES: LazyLock<HashMap<String, Shape>> = LazyLock::new(|| {
    let set = FileDescriptorSet::decode(DESCRIPTORS).unwrap_or_default();
    let mut shapes = HashMap::new();
    for file in &set.file {
        for message in &file.message_type {
            add_shapes(file.package(), message, &mut shapes);
        }
    }
    shapes
});

fn add_shapes(scope: &str, message: &DescriptorProto, shapes: &mut HashMap<String, Shape>) {
    let name = format!("{scope}.{}", message.name());
    let fields = message.field.iter().map(|field| {
        let holds_message = field.r#type() == Type::Message;
        let known = Field {
            name: field.name().to_owned(),
            repeated: field.label() == Label::Repeated,
            kind: field.r#type(),
            message: holds_message.then(|| field.type_name().trim_start_matches('.').to_owned()),
            oneof: field.oneof_index,
        };
        (u32::try_from(field.number()).unwrap_or(0), known)
    });
    shapes.insert(name.clone(), fields.collect());
    for nested in &message.nested_type {
        add_shapes(&name, nested, shapes);
    }
}

const fn wire_type(kind: Type) -> WireType {
    match kind {
        Type::Double | Type::Fixed64 | Type::Sfixed64 => WireType::SixtyFourBit,
        Type::Float | Type::Fixed32 | Type::Sfixed32 => WireType::ThirtyTwoBit,
        Type::String | Type::Bytes | Type::Message => WireType::LengthDelimited,
        Type::Group => WireType::StartGroup,
        Type::Int64
        | Type::Uint64
        | Type::Int32
        | Type::Bool
        | Type::Uint32
        | Type::Enum
        | Type::Sint32
        | Type::Sint64 => WireType::Varint,
    }
}

/// Why a message is refused before it is decoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WireRefusal {
    /// It has a field its descriptor does not know.
    UnknownField {
        /// Path of the message it is in, by field names; empty at the top.
        path: String,
        /// Its number.
        number: u32,
    },
    /// It is not protobuf, or not of this message.
    Malformed,
    /// A field, or a second member of a `oneof`, is there more than once.
    Doubled {
        /// Path of the field, by names.
        path: String,
    },
    /// A value that its field cannot hold: a decoder would cut it to another one.
    OutOfRange {
        /// Path of the field, by names.
        path: String,
    },
    /// A string that is not UTF-8.
    NotText {
        /// Path of the field, by names.
        path: String,
    },
}

/// Holds the wire form of a message against its descriptor.
///
/// # Errors
/// [`WireRefusal`]
pub fn scan(message: &str, bytes: &[u8]) -> Result<(), WireRefusal> {
    scan_message(message, bytes, "", DEPTH_MAX)
}

fn scan_message(name: &str, bytes: &[u8], path: &str, depth: usize) -> Result<(), WireRefusal> {
    let shape = SHAPES.get(name).ok_or(WireRefusal::Malformed)?;
    let depth = depth.checked_sub(1).ok_or(WireRefusal::Malformed)?;
    let mut rest = bytes;
    let mut seen = HashSet::new();
    while rest.has_remaining() {
        let (number, wire) = decode_key(&mut rest).map_err(|_| WireRefusal::Malformed)?;
        let Some(field) = shape.get(&number) else {
            return Err(WireRefusal::UnknownField {
                path: path.to_owned(),
                number,
            });
        };
        let path = if path.is_empty() {
            field.name.clone()
        } else {
            format!("{path}.{}", field.name)
        };
        // A `oneof` is one place, whichever member fills it.
        let place = field.oneof.ok_or(number);
        if !field.repeated && !seen.insert(place) {
            return Err(WireRefusal::Doubled { path });
        }
        let packed = field.repeated && wire == WireType::LengthDelimited;
        if wire != wire_type(field.kind) && !packed {
            return Err(WireRefusal::Malformed);
        }
        if wire == WireType::Varint {
            let value = decode_varint(&mut rest).map_err(|_| WireRefusal::Malformed)?;
            if !fits(field.kind, value) {
                return Err(WireRefusal::OutOfRange { path });
            }
            continue;
        }
        let value = take(&mut rest, wire)?;
        if field.kind == Type::String && str::from_utf8(value).is_err() {
            return Err(WireRefusal::NotText { path });
        }
        if let Some(message) = &field.message {
            scan_message(message, value, &path, depth)?;
        }
    }
    Ok(())
}

/// Whether a field of this type can hold the number on the wire. A negative one of 32 bits is sent
/// with its sign in all 64.
fn fits(kind: Type, value: u64) -> bool {
    match kind {
        Type::Bool => value <= 1,
        Type::Uint32 | Type::Sint32 => u32::try_from(value).is_ok(),
        Type::Int32 | Type::Enum => i32::try_from(value.cast_signed()).is_ok(),
        Type::Double
        | Type::Float
        | Type::Int64
        | Type::Uint64
        | Type::Fixed64
        | Type::Fixed32
        | Type::String
        | Type::Group
        | Type::Message
        | Type::Bytes
        | Type::Sfixed32
        | Type::Sfixed64
        | Type::Sint64 => true,
    }
}

/// Takes one value that is no number of variable length off the front; gives the content of a
/// length-delimited one.
fn take<'a>(rest: &mut &'a [u8], wire: WireType) -> Result<&'a [u8], WireRefusal> {
    let length = match wire {
        WireType::SixtyFourBit => 8,
        WireType::ThirtyTwoBit => 4,
        WireType::LengthDelimited => {
            let length = decode_varint(rest).map_err(|_| WireRefusal::Malformed)?;
            usize::try_from(length).map_err(|_| WireRefusal::Malformed)?
        }
        WireType::Varint | WireType::StartGroup | WireType::EndGroup => {
            return Err(WireRefusal::Malformed);
        }
    };
    let (value, behind) = rest
        .split_at_checked(length)
        .ok_or(WireRefusal::Malformed)?;
    *rest = behind;
    Ok(value)
}

impl From<WireRefusal> for Status {
    fn from(refusal: WireRefusal) -> Self {
        match refusal {
            WireRefusal::UnknownField { path, number } => {
                let number = number.to_string();
                status_with(
                    Reason::UnknownField,
                    [("message", path), ("field_number", number)],
                )
            }
            WireRefusal::Malformed => bad_request([("", "not a message of this RPC")]),
            WireRefusal::Doubled { path } => {
                bad_request([(path, "given more than once".to_owned())])
            }
            WireRefusal::OutOfRange { path } => {
                bad_request([(path, "a value of its type".to_owned())])
            }
            WireRefusal::NotText { path } => bad_request([(path, "UTF-8 text".to_owned())]),
        }
    }
}

/// Encodes as prost does, decodes after the scan.
#[derive(Debug, Clone)]
pub struct StrictCodec<Out, In>(PhantomData<(Out, In)>);

impl<Out, In> Default for StrictCodec<Out, In> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<Out, In> Codec for StrictCodec<Out, In>
where
    Out: Message + Send + 'static,
    In: Message + Name + Default + Send + 'static,
{
    type Encode = Out;
    type Decode = In;
    type Encoder = ProstEncoder<Out>;
    type Decoder = StrictDecoder<In>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<Out, In>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        StrictDecoder(PhantomData)
    }
}

/// The decoding half of [`StrictCodec`].
#[derive(Debug, Clone, Default)]
pub struct StrictDecoder<In>(PhantomData<In>);

impl<In: Message + Name + Default> Decoder for StrictDecoder<In> {
    type Item = In;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<In>, Status> {
        let bytes = buffer.copy_to_bytes(buffer.remaining());
        scan(&In::full_name(), &bytes)?;
        let message = In::decode(bytes).map_err(|_| WireRefusal::Malformed)?;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grpc::proto::{AppleEvidence, Evidence, RegisterDeviceRequest, evidence};
    use proptest::prelude::*;

    fn request() -> RegisterDeviceRequest {
        let apple = AppleEvidence {
            attestation_object: vec![1; 300],
            key_id: vec![2; 32],
            client_data: b"{}".to_vec(),
        };
        RegisterDeviceRequest {
            request_id: String::new(),
            subject: "user".to_owned(),
            app_id: "bank".to_owned(),
            challenge: vec![3; 60],
            evidence: Some(Evidence {
                kind: Some(evidence::Kind::Apple(apple)),
            }),
            validate_only: true,
            client: None,
        }
    }

    const NAME: &str = "assay.v1.RegisterDeviceRequest";

    #[test]
    fn takes_what_it_knows() {
        assert_eq!(scan(NAME, &request().encode_to_vec()), Ok(()));
        assert_eq!(scan(NAME, &[]), Ok(()));
    }

    #[test]
    fn refuses_an_unknown_field_wherever_it_is() {
        let mut bytes = request().encode_to_vec();
        bytes.extend_from_slice(&[0xf8, 0x07, 1]); // field 127, varint 1
        let path = String::new();
        assert_eq!(
            scan(NAME, &bytes),
            Err(WireRefusal::UnknownField { path, number: 127 })
        );
        let nested = [0x22, 4, 0x12, 2, 0x78, 0x00]; // evidence.apple, field 15
        let path = "evidence.apple".to_owned();
        assert_eq!(
            scan(NAME, &nested),
            Err(WireRefusal::UnknownField { path, number: 15 })
        );
    }

    #[test]
    fn refuses_a_singular_field_given_twice() {
        let mut bytes = request().encode_to_vec();
        bytes.extend_from_slice(&[0x12, 1, b'x']); // app_id again
        assert_eq!(
            scan(NAME, &bytes),
            Err(WireRefusal::Doubled {
                path: "app_id".to_owned()
            })
        );
        let both = [0x22, 4, 0x0a, 0, 0x12, 0]; // evidence { android {} apple {} }
        let path = "evidence.apple".to_owned();
        assert_eq!(scan(NAME, &both), Err(WireRefusal::Doubled { path }));
    }

    #[test]
    fn a_negative_number_of_32_bits_fits_with_its_sign_and_no_other_way() {
        let name = "assay.v1.ListDevicesRequest";
        let request = crate::grpc::proto::ListDevicesRequest {
            page_size: -1,
            ..Default::default()
        };
        assert_eq!(scan(name, &request.encode_to_vec()), Ok(()));
        let cut = [0x10, 0xff, 0xff, 0xff, 0xff, 0x0f]; // 2^32 - 1
        let path = "page_size".to_owned();
        assert_eq!(scan(name, &cut), Err(WireRefusal::OutOfRange { path }));
    }

    #[test]
    fn refuses_a_wrong_type_and_a_cut_message() {
        assert_eq!(scan(NAME, &[0x10, 1]), Err(WireRefusal::Malformed)); // app_id as varint
        let bytes = request().encode_to_vec();
        let cut = &bytes[..bytes.len() - 3];
        assert!(scan(NAME, cut).is_err());
        assert_eq!(
            scan(NAME, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
            Err(WireRefusal::Malformed)
        );
    }

    proptest! {
        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = scan(NAME, &bytes);
        }
    }
}

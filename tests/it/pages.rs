//! The pages for people: their links lead somewhere, and the index of `docs/` is complete.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::sources::files;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page of the project: those at its top, and those below `docs/` and `helm/`.
fn pages() -> Vec<(PathBuf, String)> {
    let mut pages = Vec::new();
    for entry in fs::read_dir(root()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            let text = fs::read_to_string(&path).unwrap();
            pages.push((path, text));
        }
    }
    for directory in ["docs", "helm"] {
        let directory = root().join(directory);
        for file in files(&directory, "md") {
            pages.push((directory.join(file.name), file.text));
        }
    }
    pages
}

/// The targets of Markdown links.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("](").skip(1);
    parts.filter_map(|rest| rest.split_once(')').map(|(target, _)| target))
}

#[test]
fn every_link_of_a_page_leads_to_a_file_of_the_project() {
    let mut followed = 0;
    for (page, text) in pages() {
        for target in links(&text).filter(|target| !target.contains("://")) {
            let file = target.split('#').next().unwrap();
            let beside = page.parent().unwrap().join(file);
            assert!(beside.exists(), "{} links to {target}", page.display());
            followed += 1;
        }
    }
    assert!(followed > 10, "only {followed} links found");
}

#[test]
fn the_index_of_docs_lists_every_page_there() {
    let index = fs::read_to_string(root().join("docs/README.md")).unwrap();
    let listed: Vec<&str> = links(&index).collect();
    for page in files(&root().join("docs"), "md") {
        let name = page.name.as_str();
        assert!(name == "README.md" || listed.contains(&name), "{name}");
    }
}

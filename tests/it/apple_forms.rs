//! Made-up App Attest attestations of another form: objects, CBOR, authenticator data.

use assay::attestation::Given;
use assay::attestation::apple::{Attestation, OBJECT_BYTES_MAX};
use assay::reason::Reason;

use crate::apple_matrix::{CERTIFICATE, FORMAT, Group, LAYOUT, OBJECT};
use crate::apple_support::{AUTHORITY, Cbor, Plan, examine, extension_map, now, verdict};

pub(crate) static GROUPS: [&Group<Plan>; 4] = [&LAYOUTS, &EXTENSIONS, &OBJECTS, &ENCODINGS];

static LAYOUTS: Group<Plan> = Group {
    test: "apple_forms::refuses_authenticator_data_of_another_layout",
    rows: &[
        (LAYOUT, "attested-data flag clear", |plan| plan.flags = 0x00),
        (
            LAYOUT,
            "extension flag without the attested-data flag",
            |plan| plan.flags = 0x80,
        ),
        (LAYOUT, "credential id of 0x89f4 bytes", |plan| {
            plan.credential_length = 0x89f4
        }),
        (LAYOUT, "credential id of 0 bytes", |plan| {
            plan.credential_length = 0
        }),
        (LAYOUT, "credential id of 33 bytes", |plan| {
            plan.credential_length = 33;
            plan.credential_id.push(0);
        }),
        (LAYOUT, "COSE key missing", |plan| plan.cose_key.clear()),
        (LAYOUT, "COSE key cut short", |plan| {
            plan.cose_key.truncate(76)
        }),
        (LAYOUT, "a byte behind the COSE key", |plan| {
            plan.tail = vec![0]
        }),
        (LAYOUT, "garbage behind the COSE key", |plan| {
            plan.tail = vec![0xff; 40]
        }),
        (LAYOUT, "two maps behind the COSE key", |plan| {
            plan.tail = vec![0xa0, 0xa0]
        }),
        (LAYOUT, "array behind the COSE key", |plan| {
            plan.tail = vec![0x80]
        }),
        (LAYOUT, "extension map of indefinite length", |plan| {
            plan.tail = vec![0xbf, 0xff]
        }),
        (
            LAYOUT,
            "extension map with a key that is not a text",
            |plan| plan.tail = vec![0xa1, 0x01, 0x01],
        ),
        (LAYOUT, "every flag but the attested-data flag", |plan| {
            plan.flags = 0xbf
        }),
        (LAYOUT, "credential id of 31 bytes", |plan| {
            plan.credential_length = 31;
            plan.credential_id.pop();
        }),
        (LAYOUT, "credential id of 0xffff bytes", |plan| {
            plan.credential_length = 0xffff
        }),
        (
            LAYOUT,
            "length of the credential id in little-endian",
            |plan| {
                plan.credential_length = 0x2000;
            },
        ),
        (LAYOUT, "empty authenticator data", |plan| {
            plan.auth_data_changed = Box::new(Vec::clear);
        }),
        (LAYOUT, "header cut short", |plan| {
            plan.auth_data_changed = Box::new(|data| data.truncate(36));
        }),
        (LAYOUT, "header alone, as in an assertion", |plan| {
            plan.auth_data_changed = Box::new(|data| data.truncate(37));
        }),
        (LAYOUT, "text behind the COSE key", |plan| {
            plan.tail = vec![0x61, b'a']
        }),
        (LAYOUT, "extension map with a byte behind it", |plan| {
            plan.tail = [extension_map(Cbor::Unsigned(4)), vec![0]].concat();
        }),
        (LAYOUT, "extension map cut short", |plan| {
            plan.tail = extension_map(Cbor::Unsigned(4));
            plan.tail.pop();
        }),
    ],
};

#[test]
fn refuses_authenticator_data_of_another_layout() {
    LAYOUTS.run();
}

static EXTENSIONS: Group<Plan> = Group {
    test: "apple_forms::refuses_known_extensions_of_another_form",
    rows: &[
        (LAYOUT, "extension map with a key twice", |plan| {
            plan.tail = Cbor::Map(vec![
                ("apple_validation_category_01", Cbor::Unsigned(4)),
                ("apple_validation_category_01", Cbor::Unsigned(3)),
            ])
            .write();
        }),
        (LAYOUT, "category of three bytes", |plan| {
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0]));
        }),
        (LAYOUT, "category as a text", |plan| {
            plan.tail = extension_map(Cbor::Text("4"))
        }),
        (LAYOUT, "category beyond 32 bits", |plan| {
            plan.tail = extension_map(Cbor::Unsigned(1 << 32));
        }),
        (LAYOUT, "version as a number", |plan| {
            let version = ("apple_bundle_version_01", Cbor::Unsigned(1));
            plan.tail = Cbor::Map(vec![version]).write();
        }),
        (LAYOUT, "version with a control character", |plan| {
            let version = ("apple_bundle_version_01", Cbor::Text("1\x1b[2J"));
            plan.tail = Cbor::Map(vec![version]).write();
        }),
        (LAYOUT, "code directory hash of 65 bytes", |plan| {
            let hash = ("apple_cd_hash_hash_01", Cbor::Bytes(vec![1; 65]));
            plan.tail = Cbor::Map(vec![hash]).write();
        }),
        (LAYOUT, "category of no bytes", |plan| {
            plan.tail = extension_map(Cbor::Bytes(Vec::new()));
        }),
        (LAYOUT, "category of eight bytes", |plan| {
            plan.tail = extension_map(Cbor::Bytes(vec![4, 0, 0, 0, 0, 0, 0, 0]));
        }),
        (LAYOUT, "category below 0", |plan| {
            plan.tail = extension_map(Cbor::Raw(vec![0x20]))
        }),
        (LAYOUT, "category of null", |plan| {
            plan.tail = extension_map(Cbor::Raw(vec![0xf6]))
        }),
        (LAYOUT, "category not in its shortest form", |plan| {
            plan.tail = extension_map(Cbor::Raw(vec![0x18, 0x04]));
        }),
        (LAYOUT, "category under a tag", |plan| {
            plan.tail = extension_map(Cbor::Raw(vec![0xc1, 0x04]));
        }),
        (LAYOUT, "empty version", |plan| {
            let version = ("apple_bundle_version_01", Cbor::Text(""));
            plan.tail = Cbor::Map(vec![version]).write();
        }),
        (LAYOUT, "version of 129 bytes", |plan| {
            let version = Cbor::Raw([vec![0x78, 129], vec![b'1'; 129]].concat());
            plan.tail = Cbor::Map(vec![("apple_bundle_version_01", version)]).write();
        }),
        (LAYOUT, "version that turns its neighbours around", |plan| {
            let version = ("apple_bundle_version_01", Cbor::Text("1\u{202e}2"));
            plan.tail = Cbor::Map(vec![version]).write();
        }),
        (LAYOUT, "empty code directory hash", |plan| {
            let hash = ("apple_cd_hash_hash_01", Cbor::Bytes(Vec::new()));
            plan.tail = Cbor::Map(vec![hash]).write();
        }),
        (LAYOUT, "code directory hash as a text", |plan| {
            let hash = ("apple_cd_hash_hash_01", Cbor::Text("00"));
            plan.tail = Cbor::Map(vec![hash]).write();
        }),
        (
            LAYOUT,
            "type of the code directory hash of two bytes",
            |plan| {
                let kind = ("apple_cd_hash_type_01", Cbor::Bytes(vec![2, 0]));
                plan.tail = Cbor::Map(vec![kind]).write();
            },
        ),
    ],
};

#[test]
fn refuses_known_extensions_of_another_form() {
    EXTENSIONS.run();
}

static OBJECTS: Group<Plan> = Group {
    test: "apple_forms::refuses_objects_of_another_form",
    rows: &[
        (FORMAT, "format apple", |plan| {
            plan.format = Cbor::Text("apple")
        }),
        (FORMAT, "format packed", |plan| {
            plan.format = Cbor::Text("packed")
        }),
        (OBJECT, "format as bytes", |plan| {
            plan.format = Cbor::Bytes(b"apple-appattest".to_vec());
        }),
        (OBJECT, "bytes behind the object", |plan| {
            plan.object_changed = Box::new(|object| object.push(0))
        }),
        (OBJECT, "an object behind the object", |plan| {
            plan.object_changed = Box::new(|object| object.push(0xa0))
        }),
        (OBJECT, "fmt twice", |plan| {
            plan.more_object
                .push(("fmt", Cbor::Text("apple-appattest")));
        }),
        (OBJECT, "attStmt twice", |plan| {
            plan.more_object.push(("attStmt", Cbor::Map(Vec::new())));
        }),
        (OBJECT, "x5c twice", |plan| {
            plan.more_statement.push(("x5c", Cbor::Array(Vec::new())));
        }),
        (OBJECT, "receipt as a text", |plan| {
            plan.receipt = Some(Cbor::Text("receipt"))
        }),
        (OBJECT, "tag in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0xc0, 0x00])));
        }),
        (OBJECT, "float in an unknown key", |plan| {
            let float = Cbor::Raw(vec![0xf9, 0x00, 0x00]);
            plan.more_object.push(("later", float));
        }),
        (OBJECT, "deep nesting in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0x81; 8000])));
        }),
        (OBJECT, "huge length in an unknown key", |plan| {
            let mut huge = vec![0x5b];
            huge.extend([0xff; 8]);
            plan.more_object.push(("later", Cbor::Raw(huge)));
        }),
        (OBJECT, "certificate as a text", |plan| {
            plan.chain = Box::new(|_| vec![Cbor::Text("leaf"), Cbor::Text("issuer")]);
        }),
        (CERTIFICATE, "bytes behind the leaf", |plan| {
            plan.leaf_changed = Box::new(|leaf| leaf.push(0));
        }),
        (CERTIFICATE, "empty certificates", |plan| {
            plan.chain = Box::new(|_| vec![Cbor::Bytes(Vec::new()); 2].to_vec());
        }),
        (FORMAT, "format of WebAuthn's Android keys", |plan| {
            plan.format = Cbor::Text("android-key");
        }),
        (FORMAT, "empty format", |plan| plan.format = Cbor::Text("")),
        (FORMAT, "format with a byte behind it", |plan| {
            plan.format = Cbor::Text("apple-appattest\0");
        }),
        (FORMAT, "format in capitals", |plan| {
            plan.format = Cbor::Text("Apple-AppAttest")
        }),
        (OBJECT, "no fmt", |plan| plan.without.push("fmt")),
        (OBJECT, "no attStmt", |plan| plan.without.push("attStmt")),
        (OBJECT, "no authData", |plan| plan.without.push("authData")),
        (OBJECT, "no x5c", |plan| plan.without.push("x5c")),
        (OBJECT, "authData as a text", |plan| {
            plan.without.push("authData");
            plan.object_changed = Box::new(|object| {
                object[0] = 0xa3;
                object.extend(Cbor::Text("authData").write());
                object.extend(Cbor::Text("data").write());
            });
        }),
        (OBJECT, "attStmt as bytes", |plan| {
            plan.without.push("attStmt");
            plan.object_changed = Box::new(|object| {
                object[0] = 0xa3;
                object.extend(Cbor::Text("attStmt").write());
                object.extend(Cbor::Bytes(Cbor::Map(Vec::new()).write()).write());
            });
        }),
        (OBJECT, "x5c as one certificate", |plan| {
            plan.chain = Box::new(|_| Vec::new());
            plan.object_changed = Box::new(|object| {
                let at = object
                    .windows(4)
                    .position(|window| window == b"x5c\x80")
                    .unwrap();
                object[at + 3] = 0x40;
            });
        }),
        (OBJECT, "x5c as a map", |plan| {
            plan.chain = Box::new(|_| Vec::new());
            plan.object_changed = Box::new(|object| {
                let at = object
                    .windows(4)
                    .position(|window| window == b"x5c\x80")
                    .unwrap();
                object[at + 3] = 0xa0;
            });
        }),
        (OBJECT, "authData twice", |plan| {
            plan.more_object.push(("authData", Cbor::Bytes(Vec::new())));
        }),
        (OBJECT, "receipt twice", |plan| {
            plan.more_statement
                .push(("receipt", Cbor::Bytes(Vec::new())));
        }),
        (OBJECT, "object cut short", |plan| {
            plan.object_changed = Box::new(|object| {
                object.pop();
            });
        }),
        (OBJECT, "object in an array", |plan| {
            plan.object_changed = Box::new(|object| object.insert(0, 0x81));
        }),
        (OBJECT, "object in a byte string", |plan| {
            plan.object_changed = Box::new(|object| *object = Cbor::Bytes(object.clone()).write());
        }),
        (OBJECT, "object in base64", |plan| {
            plan.object_changed = Box::new(|object| {
                *object = data_encoding::BASE64.encode(object).into_bytes();
            });
        }),
        (CERTIFICATE, "bytes behind the intermediate", |plan| {
            plan.chain = Box::new(|[leaf, mut intermediate, _]| {
                intermediate.push(0);
                vec![Cbor::Bytes(leaf), Cbor::Bytes(intermediate)]
            });
        }),
        (CERTIFICATE, "certificate in PEM", |plan| {
            plan.leaf_changed = Box::new(|leaf| {
                *leaf = format!(
                    "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                    data_encoding::BASE64.encode(leaf)
                )
                .into_bytes();
            });
        }),
    ],
};

#[test]
fn refuses_objects_of_another_form() {
    OBJECTS.run();
}

static ENCODINGS: Group<Plan> = Group {
    test: "apple_forms::refuses_cbor_that_is_not_the_one_encoding",
    rows: &[
        (OBJECT, "indefinite map in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0xbf, 0xff])));
        }),
        (OBJECT, "indefinite array in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0x9f, 0xff])));
        }),
        (OBJECT, "indefinite bytes in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0x5f, 0x41, 0x00, 0xff])));
        }),
        (OBJECT, "indefinite text in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0x7f, 0x61, 0x61, 0xff])));
        }),
        (
            OBJECT,
            "length not in its shortest form in an unknown key",
            |plan| {
                plan.more_object
                    .push(("later", Cbor::Raw(vec![0x58, 0x01, 0x00])));
            },
        ),
        (
            OBJECT,
            "number not in its shortest form in an unknown key",
            |plan| {
                plan.more_object
                    .push(("later", Cbor::Raw(vec![0x19, 0x00, 0x17])));
            },
        ),
        (OBJECT, "undefined in an unknown key", |plan| {
            plan.more_object.push(("later", Cbor::Raw(vec![0xf7])));
        }),
        (
            OBJECT,
            "unassigned simple value in an unknown key",
            |plan| {
                plan.more_object.push(("later", Cbor::Raw(vec![0xe0])));
            },
        ),
        (OBJECT, "reserved length in an unknown key", |plan| {
            plan.more_object.push(("later", Cbor::Raw(vec![0x1c])));
        }),
        (OBJECT, "half a number in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0x1a, 0x00])));
        }),
        (OBJECT, "text that is not UTF-8 in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0x61, 0xff])));
        }),
        (OBJECT, "key that is a number in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0xa1, 0x01, 0x00])));
        }),
        (OBJECT, "key that is bytes in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0xa1, 0x41, 0x61, 0x00])));
        }),
        (
            OBJECT,
            "break without a beginning in an unknown key",
            |plan| {
                plan.more_object.push(("later", Cbor::Raw(vec![0xff])));
            },
        ),
        (OBJECT, "key twice in an unknown key", |plan| {
            plan.more_object.push((
                "later",
                Cbor::Raw(vec![0xa2, 0x61, 0x61, 0x00, 0x61, 0x61, 0x00]),
            ));
        }),
        (OBJECT, "nesting of five in an unknown key", |plan| {
            plan.more_object
                .push(("later", Cbor::Raw(vec![0x81, 0x81, 0x81, 0x81, 0x80])));
        }),
        (OBJECT, "array of 65 items", |plan| {
            plan.more_object
                .push(("later", Cbor::Array(vec![Cbor::Unsigned(0); 65])));
        }),
        (OBJECT, "array said to hold 2^64 items", |plan| {
            let mut huge = vec![0x9b];
            huge.extend([0xff; 8]);
            plan.more_object.push(("later", Cbor::Raw(huge)));
        }),
        (OBJECT, "65 certificates", |plan| {
            plan.chain = Box::new(|_| vec![Cbor::Bytes(Vec::new()); 65]);
        }),
        (OBJECT, "object of indefinite length", |plan| {
            plan.object_changed = Box::new(|object| {
                object[0] = 0xbf;
                object.push(0xff);
            });
        }),
        (
            OBJECT,
            "number of entries not in its shortest form",
            |plan| {
                plan.object_changed = Box::new(|object| {
                    object.splice(..1, [0xb8, 0x03]);
                });
            },
        ),
        (OBJECT, "object under the tag for CBOR", |plan| {
            plan.object_changed = Box::new(|object| {
                object.splice(..0, [0xd9, 0xd9, 0xf7]);
            });
        }),
        (OBJECT, "format in chunks", |plan| {
            let chunks = [&[0x7f][..], &Cbor::Text("apple-appattest").write(), &[0xff]];
            plan.format = Cbor::Raw(chunks.concat());
        }),
        (OBJECT, "certificate in chunks", |plan| {
            plan.chain = Box::new(|[leaf, intermediate, _]| {
                let chunks = [&[0x5f][..], &Cbor::Bytes(leaf).write(), &[0xff]];
                vec![Cbor::Raw(chunks.concat()), Cbor::Bytes(intermediate)]
            });
        }),
        (OBJECT, "certificate under a tag", |plan| {
            plan.chain = Box::new(|[leaf, intermediate, _]| {
                let tagged = [vec![0xd8, 0x18], Cbor::Bytes(leaf).write()].concat();
                vec![Cbor::Raw(tagged), Cbor::Bytes(intermediate)]
            });
        }),
    ],
};

#[test]
fn refuses_cbor_that_is_not_the_one_encoding() {
    ENCODINGS.run();
}

#[test]
fn refuses_bytes_that_are_no_object() {
    let roots = AUTHORITY.roots();
    let long = vec![0x81; OBJECT_BYTES_MAX];
    for bytes in [&b""[..], b"\xa0", b"\x80", b"\xf6", b"{}", &long] {
        let evidence = Attestation::new(bytes.to_vec(), vec![0; 32]).unwrap();
        let examination = examine(evidence, Given::default(), &roots, now());
        assert_eq!(verdict(examination), Err(Reason::EvidenceMalformed));
    }
}

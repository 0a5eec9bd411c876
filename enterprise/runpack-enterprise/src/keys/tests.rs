//! Keys as OpenSSL writes them.

use std::fs;
use std::path::Path;
use std::process::Command;

use runpack_core::id::PackId;
use runpack_core::sign::{Signer as _, VerifyingKey, sign};

use super::*;

fn openssl(directory: &Path, arguments: &str) {
    let output = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(directory)
        .output()
        .expect("openssl is needed for this test");
    assert!(output.status.success(), "{arguments}: {output:?}");
}

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text.to_owned())
}

#[test]
fn keys_that_openssl_encrypts_sign_here() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path();
    let read = |name: &str| fs::read_to_string(path.join(name)).unwrap();
    openssl(
        path,
        "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out key.pem",
    );
    openssl(path, "pkey -in key.pem -pubout -out public.pem");
    let public = VerifyingKey::from_pem(&read("public.pem")).unwrap();
    let pack = PackId::of(b"a manifest");
    for options in [
        "",
        " -v2 aes-256-cbc -v2prf hmacWithSHA256",
        " -v2 aes-128-cbc -v2prf hmacWithSHA512",
        " -scrypt",
    ] {
        openssl(
            path,
            &format!("pkcs8 -topk8 -in key.pem -out sealed.pem -passout pass:correct{options}"),
        );
        let sealed = read("sealed.pem");
        let key = signing_key(&sealed, Some(&passphrase("correct\n"))).unwrap();
        assert_eq!(key.public_key(), public, "{options}");
        let envelope = sign(pack, "pack", &key).unwrap();
        assert_eq!(envelope.verify(&public, pack), Ok(()));
        for wrong in ["", "Correct", "correct "] {
            let refused = signing_key(&sealed, Some(&passphrase(wrong))).unwrap_err();
            assert!(
                matches!(
                    refused,
                    SignerKeyError::Passphrase | SignerKeyError::Key(KeyError::Unsupported)
                ),
                "{refused}"
            );
        }
        let refused = signing_key(&sealed, None).unwrap_err();
        assert_eq!(refused, SignerKeyError::PassphraseNeeded);
    }
    let plain = signing_key(&read("key.pem"), None).unwrap();
    assert_eq!(plain.public_key(), public);
    let refused = signing_key(&read("public.pem"), None).unwrap_err();
    assert_eq!(refused, SignerKeyError::Key(KeyError::NotPrivate));
    openssl(
        path,
        "pkcs8 -topk8 -in key.pem -out old.pem -passout pass:correct -v1 PBE-SHA1-3DES",
    );
    let refused = signing_key(&read("old.pem"), Some(&passphrase("correct"))).unwrap_err();
    assert!(
        matches!(refused, SignerKeyError::Scheme | SignerKeyError::Passphrase),
        "{refused}"
    );
}

#[test]
fn k01_no_secret_in_messages() {
    let shown = format!("{:?} {:#?}", passphrase("correct"), passphrase("correct"));
    assert!(!shown.contains("correct"), "{shown}");
}

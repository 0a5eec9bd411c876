//! The keys that were named on the command line.

use std::sync::Arc;

use runpack_cli::file::read_capped;
use runpack_cli::pins::public_key;
use runpack_cli::{Context, Failure};
use runpack_core::sign::{Signer, VerifyingKey};
use runpack_enterprise::keys::{Passphrase, signing_key};

use crate::options;

const KEY_BYTES_MAX: u64 = 64 << 10;

/// The key to sign with.
///
/// # Errors
/// None was named, or it is none.
pub(crate) fn signer(context: &Context) -> Result<Arc<dyn Signer>, Failure> {
    optional_signer(context)?.ok_or_else(|| {
        Failure::new(
            "this is signed, and no key is named",
            "give --signing-key; make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem`",
        )
    })
}

/// The key to sign with, if one was named.
///
/// # Errors
/// It is none.
pub(crate) fn optional_signer(context: &Context) -> Result<Option<Arc<dyn Signer>>, Failure> {
    let Some(path) = options::signing_key(&context.given) else {
        return Ok(None);
    };
    let passphrase = context.environment.key_passphrase.as_ref();
    let passphrase = passphrase.map(|text| Passphrase::new(text.reveal().to_owned()));
    let help = "give your private key as --signing-key PRIVATE.pem; RUNPACK_KEY_PASSPHRASE opens an encrypted one";
    let bytes = read_capped(&path, KEY_BYTES_MAX, "the private key", help)?;
    // What is no text is no PEM, and is told without a word of it.
    let pem = String::from_utf8(bytes).unwrap_or_default();
    let key = signing_key(&pem, passphrase.as_ref()).map_err(|error| {
        Failure::new(
            format!("this is no private key, path=`{}`", path.display()),
            help,
        )
        .because(&error)
    })?;
    Ok(Some(Arc::new(key)))
}

/// The keys whose signatures count: those that were named, and the one that signs.
///
/// # Errors
/// None was named, or one of them is none.
pub(crate) fn trusted(context: &Context) -> Result<Vec<VerifyingKey>, Failure> {
    let keys = named(context)?;
    if keys.is_empty() {
        return Err(Failure::new(
            "signatures are checked, and no key is named whose signatures count",
            "give --trusted-key with the public key, or --signing-key",
        ));
    }
    Ok(keys)
}

/// The same, where none need be named.
///
/// # Errors
/// One of them is none.
pub(crate) fn named(context: &Context) -> Result<Vec<VerifyingKey>, Failure> {
    let paths = options::trusted_keys(&context.given);
    let mut keys = paths
        .iter()
        .map(|path| public_key(path, "--trusted-key"))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(signer) = optional_signer(context)? {
        keys.push(signer.public_key());
    }
    Ok(keys)
}

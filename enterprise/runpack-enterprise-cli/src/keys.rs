//! The keys that were named on the command line.

use std::path::Path;
use std::sync::Arc;

use runpack_cli::file::read_capped;
use runpack_cli::{Context, Failure};
use runpack_core::sign::{Signer, SigningKey, VerifyingKey};

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
    let key = SigningKey::from_pem(&text(&path)?).map_err(|error| not_a_key(&path, &error))?;
    Ok(Some(Arc::new(key)))
}

/// The keys whose signatures count: those that were named, else the one that signs.
///
/// # Errors
/// None was named, or one of them is none.
pub(crate) fn trusted(context: &Context) -> Result<Vec<VerifyingKey>, Failure> {
    let paths = options::trusted_keys(&context.given);
    let mut keys = paths
        .iter()
        .map(|path| VerifyingKey::from_pem(&text(path)?).map_err(|error| not_a_key(path, &error)))
        .collect::<Result<Vec<_>, _>>()?;
    if let Some(signer) = optional_signer(context)? {
        keys.push(signer.public_key());
    }
    if keys.is_empty() {
        return Err(Failure::new(
            "signatures are checked, and no key is named whose signatures count",
            "give --trusted-key with the public key, or --signing-key",
        ));
    }
    Ok(keys)
}

fn text(path: &Path) -> Result<String, Failure> {
    let bytes = read_capped(
        path,
        KEY_BYTES_MAX,
        "the key",
        "give a key in PEM, at most 64 KiB",
    )?;
    // What is no text is no PEM, and is told without a word of it.
    Ok(String::from_utf8(bytes).unwrap_or_default())
}

fn not_a_key(path: &Path, error: &dyn std::error::Error) -> Failure {
    Failure::new(
        format!(
            "this is not the key that is needed, path=`{}`",
            path.display()
        ),
        error.to_string(),
    )
}

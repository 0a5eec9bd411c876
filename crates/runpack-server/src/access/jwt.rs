//! JSON Web Tokens in the one form that is taken: compact JWS ([RFC 7515]) over a JSON object, read strictly.
//!
//! Nothing here believes a token: who made it is said by [`Jwt::verified`] alone. Invariants: three parts in base64url
//! without padding, and nothing else; no member stands twice; the header has no member that would change how the token
//! is checked (`crit`, `b64`, `zip`) or with which key (`jku`, `jwk`, `x5u`, `x5c`): threats C09 to C18.
//!
//! [RFC 7515]: https://www.rfc-editor.org/rfc/rfc7515

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use super::jwk::PublicKey;
use super::refusal::{Reason, Refusal, shown};
use crate::json;

/// The longest id of a key.
const KID_BYTES_MAX: usize = 256;

/// A token that was taken apart, and not checked.
pub(super) struct Jwt<'a> {
    header: Header,
    claims: Claims,
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// Every member that there may be.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    #[serde(default, deserialize_with = "text")]
    typ: Option<String>,
    /// Thumbprints of certificates, which some issuers add: they choose nothing here.
    #[serde(rename = "x5t", default, deserialize_with = "text")]
    _x5t: Option<String>,
    #[serde(rename = "x5t#S256", default, deserialize_with = "text")]
    _x5t_s256: Option<String>,
}

/// A member that is there is a text, not null.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    String::deserialize(deserializer).map(Some)
}

/// What a token says. Only texts, arrays and whole numbers are looked at.
#[derive(Debug)]
pub(super) struct Claims(Map<String, Value>);

impl Claims {
    pub(super) fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A claim that is a text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.value(name)?.as_str()
    }
}

impl<'a> Jwt<'a> {
    /// Takes a token apart.
    pub(super) fn read(text: &'a str) -> Result<Self, Refusal> {
        let bad = |detail: String| Refusal::new(Reason::BadToken, detail);
        let parts = text.rsplit_once('.').and_then(|(signed, signature)| {
            let (header, claims) = signed.split_once('.')?;
            (!claims.contains('.')).then_some((signed, header, claims, signature))
        });
        let Some((signed, header, claims, signature)) = parts else {
            return Err(bad("a token has three parts".to_owned()));
        };
        let decode = |part: &str, name| {
            let decoded = BASE64_URL_SAFE_NO_PAD.decode(part);
            decoded.map_err(|_| bad(format!("a part is not base64url, part=`{name}`")))
        };
        let header = decode(header, "header")?;
        let header: Header = json::read(&header).map_err(|error| {
            bad(format!(
                "the header is refused: {}",
                shown(&error.to_string())
            ))
        })?;
        if header.kid.is_empty() || header.kid.len() > KID_BYTES_MAX {
            return Err(bad(format!(
                "the id of a key is 1 to {KID_BYTES_MAX} bytes, bytes=`{}`",
                header.kid.len()
            )));
        }
        let claims = decode(claims, "claims")?;
        let claims = json::read(&claims).map_err(|error| {
            bad(format!(
                "the claims are refused: {}",
                shown(&error.to_string())
            ))
        })?;
        Ok(Self {
            header,
            claims: Claims(claims),
            signed: signed.as_bytes(),
            signature: decode(signature, "signature")?,
        })
    }

    /// Who is said to have made it.
    pub(super) fn issuer(&self) -> Result<&str, Refusal> {
        self.claims
            .text("iss")
            .ok_or_else(|| Refusal::new(Reason::BadToken, "the issuer is not one text"))
    }

    /// The name of the algorithm, as the token has it.
    pub(super) fn alg(&self) -> &str {
        &self.header.alg
    }

    /// The id of the key, as the token has it.
    pub(super) fn kid(&self) -> &str {
        &self.header.kid
    }

    /// That it is of the class `expected`; without one, that it is an ordinary token (RFC 8725, section 3.11).
    pub(super) fn check_type(&self, expected: Option<&str>) -> Result<(), Refusal> {
        let typ = self.header.typ.as_deref();
        let is_right = match expected {
            Some(_) => typ == expected,
            None => matches!(typ, None | Some("JWT")),
        };
        is_right.then_some(()).ok_or_else(|| {
            Refusal::new(
                Reason::BadToken,
                format!(
                    "a token of another class, typ=`{}`",
                    shown(typ.unwrap_or_default())
                ),
            )
        })
    }

    /// What it says, once `key` has said that it is its issuer's.
    pub(super) fn verified(&self, key: &PublicKey) -> Option<&Claims> {
        key.verifies(self.signed, &self.signature)
            .then_some(&self.claims)
    }
}

//! The one line that names a wrong setting and says what to do.

use aws_credential_types::provider::error::CredentialsError;

use super::{Answer, Unreached, Unsigned};
use crate::store::s3::S3Store;

/// The line that names the setting that is wrong, where it is one.
pub(super) fn setting(answer: &Answer, store: &S3Store) -> Option<String> {
    let settings = store.settings();
    let bucket = &settings.bucket;
    let region = store.region();
    let line = match answer.code.as_str() {
        "NoSuchBucket" => {
            format!("there is no such bucket, make it or correct the name, bucket=`{bucket}`")
        }
        "InvalidBucketName" => {
            format!("the store takes no bucket of this name, correct it, bucket=`{bucket}`")
        }
        "InvalidAccessKeyId" => {
            "the store does not know the access key, correct AWS_ACCESS_KEY_ID or the profile"
                .to_owned()
        }
        "SignatureDoesNotMatch" => {
            "the signature is wrong: correct the secret key, or the region if the store checks it"
                .to_owned()
        }
        "RequestTimeTooSkewed" => {
            "this machine's clock and the store's are too far apart, set the clock".to_owned()
        }
        "ExpiredToken" | "ExpiredTokenException" | "TokenRefreshRequired" => {
            "the session token has expired, log in again".to_owned()
        }
        "InvalidToken" | "InvalidTokenId" => {
            "the store does not accept the session token, log in again or unset AWS_SESSION_TOKEN"
                .to_owned()
        }
        _ => {
            let elsewhere = matches!(answer.status, 301 | 302 | 307 | 308)
                || answer.is(&[
                    "AuthorizationHeaderMalformed",
                    "PermanentRedirect",
                    "TemporaryRedirect",
                ]);
            // Redirects are never followed (threat S22).
            if !elsewhere {
                return None;
            }
            let its = answer
                .region
                .as_deref()
                .unwrap_or("(the store does not say)");
            format!(
                "the bucket is in another region or at another endpoint, correct the region or the endpoint, bucket=`{bucket}` region=`{region}` its_region=`{its}` status=`{}` message=`{}`",
                answer.status, answer.message
            )
        }
    };
    Some(line)
}

/// Why nothing was sent.
pub(super) fn unreached(why: Unreached, store: &S3Store) -> String {
    let endpoint = store.endpoint_text();
    let what = match why {
        Unreached::Name => "the endpoint's name is not known to the name service, correct it",
        Unreached::Refused => {
            "nothing listens at the endpoint, start the store or correct the endpoint"
        }
        Unreached::Silent => "nothing answers at the endpoint, correct it or open the way to it",
        Unreached::Tls(what) => what,
    };
    format!("{what}, endpoint=`{endpoint}`")
}

/// Why there are no credentials.
pub(super) fn unsigned(error: &CredentialsError) -> Unsigned {
    // What stands below these may quote a file or what a program printed, so it is not passed on.
    match error {
        CredentialsError::CredentialsNotLoaded(_) => Unsigned::Wrong(
            "no credentials were found, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE",
        ),
        CredentialsError::InvalidConfiguration(_) => Unsigned::Wrong(
            "the AWS configuration is wrong, correct the profile that AWS_PROFILE or the configuration names",
        ),
        CredentialsError::ProviderTimedOut(_) => Unsigned::Unreached(
            "the source of the credentials did not answer in time, try again or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        _ => Unsigned::Unreached(
            "the source of the credentials failed, log in again or check the profile with `aws sts get-caller-identity`",
        ),
    }
}

/// Why there is no secure connection.
pub(super) fn tls(error: &rustls::Error) -> &'static str {
    use rustls::CertificateError as Certificate;
    match error {
        rustls::Error::InvalidCertificate(certificate) => match certificate {
            Certificate::UnknownIssuer => {
                "the endpoint's certificate comes from nobody that is trusted here, name its authority's certificate in `ca_file`"
            }
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                "the endpoint's certificate has expired, renew it there or set this machine's clock"
            }
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                "the endpoint's certificate is for another name, use the name it is for"
            }
            // It has no variant of its own.
            other if format!("{other:?}").contains("CaUsedAsEndEntity") => {
                "the endpoint shows an authority's own certificate (CA:TRUE), give it one that this authority signed"
            }
            _ => {
                "the endpoint's certificate does not hold, renew it there or name its authority's certificate in `ca_file`"
            }
        },
        rustls::Error::InvalidMessage(_) => {
            "the endpoint does not speak TLS, correct its port or, on this machine only, use http"
        }
        _ => {
            "no secure connection to the endpoint could be made, correct the endpoint or its TLS settings"
        }
    }
}

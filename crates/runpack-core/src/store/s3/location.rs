//! Where a bucket is, as its service says: nothing else shows whether data stays in the region that it must stay in.
//!
//! It is a claim of the service, told over the connection that was asked for; a service that lies about it is not found
//! out here. Invariants: what the settings say is never taken for an answer; no redirect is followed to find out (threat
//! S22); who may not ask is told nothing.

use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::get_bucket_location::GetBucketLocationOutput;

use super::fault::{Fault, tamed};
use super::{Endpoint, S3Store};
use crate::store::StoreError;

const ASKING: &str = "asking where the bucket is";

/// Where a bucket is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BucketLocation {
    /// In this region, as the service names it.
    Told(String),
    /// The service does not say.
    NotTold {
        /// Why not, for people.
        why: &'static str,
    },
}

impl BucketLocation {
    /// The region, if it was told.
    pub fn told(&self) -> Option<&str> {
        match self {
            Self::Told(region) => Some(region),
            Self::NotTold { .. } => None,
        }
    }
}

impl S3Store {
    /// Whether the service is Amazon's own.
    pub fn is_amazon(&self) -> bool {
        let endpoint = self.settings().endpoint.as_ref();
        endpoint.is_none_or(Endpoint::is_amazon)
    }

    /// How the names of its resources begin (`arn:PARTITION:`), by the region that requests are signed for. Services that
    /// are not Amazon's have one.
    pub fn partition(&self) -> &'static str {
        if self.is_amazon() {
            partition(self.region().as_ref())
        } else {
            "aws"
        }
    }

    /// The region that the service says the bucket is in: `x-amz-bucket-region` of `HeadBucket`, else the answer to
    /// `GetBucketLocation` (Amazon S3 API reference; the older call says nothing of `us-east-1` and has `EU` for
    /// `eu-west-1`).
    ///
    /// # Errors
    /// The service cannot be asked, or there is no such bucket.
    pub async fn location(&self) -> Result<BucketLocation, StoreError> {
        let head = self
            .client()?
            .head_bucket()
            .bucket(self.bucket())
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        let may_head = match head {
            Ok(head) => {
                if let Some(region) = head.bucket_region().filter(|region| !region.is_empty()) {
                    return Ok(BucketLocation::Told(tamed(region)));
                }
                true
            }
            Err(error) => match Fault::from(error).into_error(self, ASKING, "") {
                StoreError::Denied { .. } => false,
                error => return Err(error),
            },
        };
        let asked = self
            .client()?
            .get_bucket_location()
            .bucket(self.bucket())
            .set_expected_bucket_owner(self.owner())
            .send()
            .await;
        match asked {
            Ok(told) => Ok(self.constraint(&told)),
            Err(error) => self.untold(error, may_head),
        }
    }

    fn constraint(&self, told: &GetBucketLocationOutput) -> BucketLocation {
        let is_amazon = self.is_amazon();
        match told
            .location_constraint()
            .map(|region| region.as_str().trim())
        {
            Some("EU") if is_amazon => BucketLocation::Told("eu-west-1".to_owned()),
            Some(region) if !region.is_empty() => BucketLocation::Told(tamed(region)),
            // Amazon's own default region has no name in this answer, and elsewhere an empty one means nothing.
            _ if is_amazon => BucketLocation::Told("us-east-1".to_owned()),
            _ => BucketLocation::NotTold {
                why: "the service names no region",
            },
        }
    }

    fn untold<E>(
        &self,
        error: SdkError<E, aws_smithy_runtime_api::client::orchestrator::HttpResponse>,
        may_head: bool,
    ) -> Result<BucketLocation, StoreError>
    where
        E: aws_sdk_s3::error::ProvideErrorMetadata + std::error::Error + 'static,
    {
        let fault = Fault::from(error);
        if fault.is_unknown_function() {
            return Ok(BucketLocation::NotTold {
                why: "the service does not know the question",
            });
        }
        match fault.into_error(self, ASKING, "") {
            StoreError::Denied { .. } if may_head => Ok(BucketLocation::NotTold {
                why: "the service names no region, and `s3:GetBucketLocation` is not allowed",
            }),
            StoreError::Denied { .. } => Ok(BucketLocation::NotTold {
                why: "neither `s3:ListBucket` nor `s3:GetBucketLocation` is allowed",
            }),
            StoreError::Refused { .. } => Ok(BucketLocation::NotTold {
                why: "the service refuses the question",
            }),
            error => Err(error),
        }
    }
}

/// The partition of a region at Amazon (AWS General Reference, "Amazon Resource Names").
fn partition(region: &str) -> &'static str {
    if region.starts_with("cn-") {
        "aws-cn"
    } else if region.starts_with("us-gov-") {
        "aws-us-gov"
    } else {
        "aws"
    }
}

#[cfg(test)]
mod tests {
    use super::partition;

    #[test]
    fn regions_are_in_their_partition() {
        for (region, of) in [
            ("eu-central-1", "aws"),
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
        ] {
            assert_eq!(partition(region), of, "{region}");
        }
    }
}

# The baseline of a bucket for evidence, as `runpack store baseline terraform` wrote it.
# Each resource owns what it sets: import what the bucket has, and give statements of your own as a variable.

terraform {
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.86"
    }
  }
}

variable "bucket" {
  description = "The bucket, which is there."
  type        = string
  default     = "my-bucket"
}

data "aws_partition" "current" {}

variable "encryption" {
  description = "What new objects are encrypted with: AES256 or aws:kms. Without one the bucket's own setting stays as it is."
  type        = string
  default     = null
}

variable "kms_key" {
  description = "The key, for aws:kms: its id, ARN or alias. Without one the service uses a key of its own."
  type        = string
  default     = null
}

variable "log_bucket" {
  description = "The bucket that access is logged to: another one, without Object Lock."
  type        = string
  default     = null
}

variable "log_prefix" {
  description = "What the objects of the log begin with."
  type        = string
  default     = "access/"
}

variable "other_statements" {
  description = "The statements that the policy of the bucket has beside these."
  type        = any
  default     = []
}

variable "trail_bucket" {
  description = "The bucket that CloudTrail writes to. With one, every read and write of an object is recorded, which costs."
  type        = string
  default     = null
}

resource "aws_s3_bucket_server_side_encryption_configuration" "runpack" {
  count  = var.encryption == null ? 0 : 1
  bucket = var.bucket

  rule {
    bucket_key_enabled = var.encryption == "aws:kms"

    apply_server_side_encryption_by_default {
      sse_algorithm     = var.encryption
      kms_master_key_id = var.encryption == "aws:kms" ? var.kms_key : null
    }
  }
}

resource "aws_s3_bucket_versioning" "runpack" {
  bucket = var.bucket

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_ownership_controls" "runpack" {
  bucket = var.bucket

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_public_access_block" "runpack" {
  bucket                  = var.bucket
  block_public_acls       = true
  ignore_public_acls      = true
  block_public_policy     = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_logging" "runpack" {
  count         = var.log_bucket == null ? 0 : 1
  bucket        = var.bucket
  target_bucket = var.log_bucket
  target_prefix = var.log_prefix
}

locals {
  transport_statements = [
      {
        "Action": "s3:*",
        "Condition": {
          "BoolIfExists": {
            "aws:SecureTransport": "false"
          }
        },
        "Effect": "Deny",
        "Principal": "*",
        "Resource": [
          "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}",
          "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}/*"
        ],
        "Sid": "RunpackNothingInTheClear"
      },
      {
        "Action": "s3:*",
        "Condition": {
          "NumericLessThan": {
            "s3:TlsVersion": "1.2"
          }
        },
        "Effect": "Deny",
        "Principal": "*",
        "Resource": [
          "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}",
          "arn:${data.aws_partition.current.partition}:s3:::${var.bucket}/*"
        ],
        "Sid": "RunpackNoOldTls"
      }
    ]
}

resource "aws_s3_bucket_policy" "runpack" {
  bucket = var.bucket
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = concat(var.other_statements, local.transport_statements)
  })
}

resource "aws_cloudtrail" "runpack" {
  count                      = var.trail_bucket == null ? 0 : 1
  name                       = "runpack-data-events"
  s3_bucket_name             = var.trail_bucket
  enable_log_file_validation = true
  is_multi_region_trail      = false

  advanced_event_selector {
    name = "Objects of the bucket for evidence"

    field_selector {
      field  = "eventCategory"
      equals = ["Data"]
    }

    field_selector {
      field  = "resources.type"
      equals = ["AWS::S3::Object"]
    }

    field_selector {
      field       = "resources.ARN"
      starts_with = ["arn:${data.aws_partition.current.partition}:s3:::${var.bucket}/"]
    }
  }
}

# Lifecycle rules of a Runpack store, as `runpack lifecycle terraform` wrote them.
# A bucket has one set of rules: whatever else it has belongs in here too, or it is removed when this is applied.
# Use this or `runpack lifecycle apply`, not both.
# `var.bucket` is declared by the module of `runpack store baseline terraform`: put both into one directory, or declare it.
# To know: what is archived is undecided to `verify` until `runpack restore` has asked it back
resource "aws_s3_bucket_lifecycle_configuration" "runpack" {
  bucket                                 = var.bucket
  transition_default_minimum_object_size = "all_storage_classes_128K"

  rule {
    id     = "runpack-cf10b5c6-readable"
    status = "Enabled"

    filter {
      and {
        prefix                   = "ci/"
        object_size_greater_than = 131072
        object_size_less_than    = 67108865
      }
    }

    transition {
      days          = 30
      storage_class = "GLACIER_IR"
    }

    noncurrent_version_transition {
      noncurrent_days = 30
      storage_class   = "GLACIER_IR"
    }
  }

  rule {
    id     = "runpack-cf10b5c6-archive"
    status = "Enabled"

    filter {
      and {
        prefix                   = "ci/"
        object_size_greater_than = 67108864
      }
    }

    transition {
      days          = 30
      storage_class = "GLACIER_IR"
    }

    transition {
      days          = 365
      storage_class = "DEEP_ARCHIVE"
    }

    noncurrent_version_transition {
      noncurrent_days = 30
      storage_class   = "GLACIER_IR"
    }
  }

  rule {
    id     = "runpack-cf10b5c6-uploads"
    status = "Enabled"

    filter {
      prefix = "ci/"
    }

    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }
}

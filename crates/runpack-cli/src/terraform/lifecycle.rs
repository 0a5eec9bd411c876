//! The rules of a lifecycle.

use runpack_core::lifecycle::Rule;

use super::quoted;

/// The resource for these rules, below what one should know of them. The bucket is the variable that the baseline declares.
pub(crate) fn lifecycle(rules: &[Rule], cautions: &[String]) -> String {
    let mut text = "\
# Lifecycle rules of a Runpack store, as `runpack lifecycle terraform` wrote them.
# A bucket has one set of rules: whatever else it has belongs in here too, or it is removed when this is applied.
# Use this or `runpack lifecycle apply`, not both.
# `var.bucket` is declared by the module of `runpack store baseline terraform`: put both into one directory, or declare it.
"
    .to_owned();
    for caution in cautions {
        add!(text, "# To know: {}\n", caution.replace(['\r', '\n'], " "));
    }
    text.push_str(
        "\
resource \"aws_s3_bucket_lifecycle_configuration\" \"runpack\" {
  bucket                                 = var.bucket
  transition_default_minimum_object_size = \"all_storage_classes_128K\"
",
    );
    for rule in rules {
        add!(
            text,
            "\n  rule {{\n    id     = {}\n    status = \"Enabled\"\n",
            quoted(&rule.id)
        );
        filter(&mut text, rule);
        for transition in &rule.transitions {
            add!(
                text,
                "\n    transition {{\n      days          = {}\n      storage_class = {}\n    }}\n",
                transition.after_days,
                quoted(transition.to.as_str())
            );
        }
        for transition in &rule.noncurrent_transitions {
            add!(
                text,
                "\n    noncurrent_version_transition {{\n      noncurrent_days = {}\n      storage_class   = {}\n    }}\n",
                transition.after_days,
                quoted(transition.to.as_str())
            );
        }
        if let Some(days) = rule.noncurrent_expiry_days {
            add!(
                text,
                "\n    noncurrent_version_expiration {{\n      noncurrent_days = {days}\n    }}\n"
            );
        }
        if let Some(days) = rule.aborted_uploads_days {
            add!(
                text,
                "\n    abort_incomplete_multipart_upload {{\n      days_after_initiation = {days}\n    }}\n"
            );
        }
        text.push_str("  }\n");
    }
    text.push_str("}\n");
    text
}

/// One condition stands alone, several stand below `and`.
fn filter(text: &mut String, rule: &Rule) {
    let mut conditions = Vec::new();
    let has_bounds = rule.larger_than.is_some() || rule.smaller_than.is_some();
    if !rule.prefix.is_empty() || !has_bounds {
        conditions.push(("prefix", quoted(&rule.prefix)));
    }
    if let Some(bytes) = rule.larger_than {
        conditions.push(("object_size_greater_than", bytes.to_string()));
    }
    if let Some(bytes) = rule.smaller_than {
        conditions.push(("object_size_less_than", bytes.to_string()));
    }
    let width = conditions.iter().map(|(name, _)| name.len()).max();
    let width = width.unwrap_or_default();
    let is_one = conditions.len() == 1;
    let space = if is_one { "      " } else { "        " };
    text.push_str("\n    filter {\n");
    if !is_one {
        text.push_str("      and {\n");
    }
    for (name, value) in conditions {
        add!(text, "{space}{name:width$} = {value}\n");
    }
    if !is_one {
        text.push_str("      }\n");
    }
    text.push_str("    }\n");
}

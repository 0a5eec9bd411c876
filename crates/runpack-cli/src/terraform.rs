//! What a bucket is set to, as Terraform has it (HCL, provider `hashicorp/aws`): the same rules and statements that the
//! program sends itself, so that the two cannot differ.

mod baseline;
mod lifecycle;

pub(crate) use baseline::baseline;
pub(crate) use lifecycle::lifecycle;

/// A text as HCL quotes it (HCL native syntax, "Template Expressions"): nothing in it is a template.
fn quoted(text: &str) -> String {
    let escaped = text
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
        .replace('\r', "\\r")
        .replace("${", "$${")
        .replace("%{", "%%{");
    format!("\"{escaped}\"")
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn texts_are_no_templates() {
        for (text, in_hcl) in [
            ("ci/", r#""ci/""#),
            ("a\"b\\c\nd", r#""a\"b\\c\nd""#),
            ("${var.x} %{if} $5 100%", r#""$${var.x} %%{if} $5 100%""#),
        ] {
            assert_eq!(quoted(text), in_hcl);
        }
    }
}

//! Listings with something left out.

/// The elements of a listing's XML that stand for one thing each.
const ENTRIES: &[&str] = &["Contents", "Version", "DeleteMarker", "Upload"];

/// The listing without the entries whose keys contain `hidden`.
pub(super) fn without(listing: &str, hidden: &str) -> String {
    let mut left = listing.to_owned();
    for entry in ENTRIES {
        let (open, close) = (format!("<{entry}>"), format!("</{entry}>"));
        let mut kept = String::with_capacity(left.len());
        let mut rest = left.as_str();
        while let Some((before, after)) = rest.split_once(&open) {
            let Some((inside, behind)) = after.split_once(&close) else {
                break;
            };
            kept.push_str(before);
            if !key(inside).is_some_and(|key| key.contains(hidden)) {
                kept.push_str(&open);
                kept.push_str(inside);
                kept.push_str(&close);
            }
            rest = behind;
        }
        kept.push_str(rest);
        left = kept;
    }
    left
}

fn key(entry: &str) -> Option<&str> {
    let (_, after) = entry.split_once("<Key>")?;
    after.split_once("</Key>").map(|(key, _)| key)
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_hidden_are_left_out() {
        let listing = "<L><Name>b</Name><Contents><Key>a/1</Key></Contents><Contents><Key>a/2</Key></Contents>\
                       <Version><Key>a/2</Key></Version><KeyCount>2</KeyCount></L>";
        let left = "<L><Name>b</Name><Contents><Key>a/1</Key></Contents><KeyCount>2</KeyCount></L>";
        assert_eq!(super::without(listing, "/2"), left);
        assert_eq!(super::without(listing, "none"), listing);
    }
}

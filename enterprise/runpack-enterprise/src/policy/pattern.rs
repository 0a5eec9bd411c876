//! Wildcards of policies: `*` is any run of characters, `?` is one (IAM user guide, "Resource" and "Action").
//!
//! A pattern is asked about one text, or about all texts that begin with one. Both are answered exactly by following
//! every place in the pattern at once, so no pattern takes more than its length times that of the text.

use super::truth::Truth;

/// What a pattern is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// One text.
    Exactly(String),
    /// Every text that begins so.
    Below(String),
}

/// Whether capital letters matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Case {
    /// They do.
    Sensitive,
    /// They do not, in ASCII.
    Insensitive,
}

/// Whether the pattern takes the target: *yes* where it takes all of it, *maybe* where it takes some.
pub(super) fn matches(pattern: &str, target: &Target, case: Case) -> Truth {
    if differs_at_once(pattern, target, case) {
        return Truth::No;
    }
    // What a variable stands for is not known: anything, as far as that goes.
    let (pattern, has_variable) = without_variables(pattern);
    let (text, is_open) = match target {
        Target::Exactly(text) => (text, false),
        Target::Below(text) => (text, true),
    };
    let pattern: Vec<char> = pattern.chars().collect();
    let places = places_after(&pattern, text, case);
    let rest = |place: usize| pattern.get(place..).unwrap_or_default();
    let takes_some = if is_open {
        !places.is_empty()
    } else {
        places
            .iter()
            .any(|place| rest(*place).iter().all(|part| *part == '*'))
    };
    let takes_all = if is_open {
        let is_all = |place: &usize| {
            let rest = rest(*place);
            !rest.is_empty() && rest.iter().all(|part| *part == '*')
        };
        places.iter().any(is_all)
    } else {
        takes_some
    };
    match (takes_all && !has_variable, takes_some) {
        (true, _) => Truth::Yes,
        (false, true) => Truth::Maybe,
        (false, false) => Truth::No,
    }
}

/// Whether the two differ before the pattern has anything that stands for something else: the usual case, at little
/// cost.
fn differs_at_once(pattern: &str, target: &Target, case: Case) -> bool {
    let (Target::Exactly(text) | Target::Below(text)) = target;
    let literal = pattern.bytes().take_while(|byte| !b"*?$".contains(byte));
    let mut pairs = literal.zip(text.bytes());
    pairs.any(|(part, found)| match case {
        Case::Sensitive => part != found,
        Case::Insensitive => !part.eq_ignore_ascii_case(&found),
    })
}

/// The same about one text.
pub(super) fn matches_text(pattern: &str, text: &str, case: Case) -> Truth {
    matches(pattern, &Target::Exactly(text.to_owned()), case)
}

/// Whether there is something in it that stands for something else.
pub(super) fn has_wildcard(pattern: &str) -> bool {
    pattern.contains(['*', '?']) || pattern.contains("${")
}

/// The places in the pattern that one can be at when the text is read, without those that were passed at no cost.
fn places_after(pattern: &[char], text: &str, case: Case) -> Vec<usize> {
    let mut places = vec![0];
    for found in text.chars() {
        let mut next = Vec::with_capacity(places.len());
        for place in through_stars(pattern, &places) {
            let Some(part) = pattern.get(place) else {
                continue;
            };
            let is_same = match case {
                Case::Sensitive => *part == found,
                Case::Insensitive => part.eq_ignore_ascii_case(&found),
            };
            match *part {
                '*' => next.push(place),
                '?' => next.push(place.saturating_add(1)),
                _ if is_same => next.push(place.saturating_add(1)),
                _ => {}
            }
        }
        next.sort_unstable();
        next.dedup();
        places = next;
    }
    through_stars(pattern, &places)
}

/// These places, and those that are reached from them by letting a `*` be nothing.
fn through_stars(pattern: &[char], places: &[usize]) -> Vec<usize> {
    let mut reached = Vec::with_capacity(places.len());
    for place in places {
        let mut place = *place;
        reached.push(place);
        while pattern.get(place) == Some(&'*') {
            place = place.saturating_add(1);
            reached.push(place);
        }
    }
    reached.sort_unstable();
    reached.dedup();
    reached
}

/// The pattern with `*` for every `${variable}`, and whether there was one.
fn without_variables(pattern: &str) -> (String, bool) {
    let Some((before, rest)) = pattern.split_once("${") else {
        return (pattern.to_owned(), false);
    };
    // An open brace that is never closed: nobody knows what a server makes of it.
    let after = rest.split_once('}').map_or("", |(_, after)| after);
    let (after, _) = without_variables(after);
    (format!("{before}*{after}"), true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::reference::glob;
    use super::*;

    #[test]
    fn wildcards() {
        for (pattern, text, wanted) in [
            ("*", "", Truth::Yes),
            ("", "", Truth::Yes),
            ("", "a", Truth::No),
            ("?", "", Truth::No),
            ("?", "a", Truth::Yes),
            ("?", "ä", Truth::Yes),
            ("a*c", "abbbc", Truth::Yes),
            ("a*c", "ac", Truth::Yes),
            ("a*c", "acb", Truth::No),
            ("a**c", "abc", Truth::Yes),
            (
                "*a*a*a*a*a*a*a*a*b",
                "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
                Truth::No,
            ),
            ("A", "a", Truth::No),
            ("${aws:username}/x", "joe/x", Truth::Maybe),
            ("${aws:username}/x", "joe/y", Truth::No),
            ("a${unclosed", "abc", Truth::Maybe),
            ("a${unclosed", "bc", Truth::No),
            ("${a}${b}", "", Truth::Maybe),
        ] {
            assert_eq!(
                matches_text(pattern, text, Case::Sensitive),
                wanted,
                "{pattern} {text}"
            );
        }
        assert_eq!(
            matches_text("s3:get*", "s3:GetObject", Case::Insensitive),
            Truth::Yes
        );
    }

    #[test]
    fn all_that_begins_so() {
        for (pattern, begin, wanted) in [
            ("*", "b/", Truth::Yes),
            ("b/*", "b/", Truth::Yes),
            ("b*", "b/", Truth::Yes),
            ("b/**", "b/", Truth::Yes),
            ("b/tenant/*", "b/", Truth::Maybe),
            ("b/tenant/*", "b/tenant/acme", Truth::Yes),
            ("b/", "b/", Truth::Maybe),
            ("b/?*", "b/", Truth::Maybe),
            ("b/?*", "b/t", Truth::Yes),
            ("b/*.json", "b/", Truth::Maybe),
            ("*/manifest.json", "b/", Truth::Maybe),
            ("c/*", "b/", Truth::No),
            ("b", "b/", Truth::No),
            ("b/${aws:username}*", "b/", Truth::Maybe),
        ] {
            let target = Target::Below(begin.to_owned());
            assert_eq!(
                matches(pattern, &target, Case::Sensitive),
                wanted,
                "{pattern} {begin}"
            );
        }
    }

    proptest! {
        #[test]
        fn one_text_is_as_the_reference_says(pattern in "[ab*?]{0,8}", text in "[ab]{0,8}") {
            let found = matches_text(&pattern, &text, Case::Sensitive);
            prop_assert_eq!(found, Truth::from(glob(&pattern, &text)));
        }

        #[test]
        fn all_that_begins_so_is_never_wrong(pattern in "[ab*?]{0,6}", begin in "[ab]{0,4}", more in "[ab]{0,6}") {
            let found = matches(&pattern, &Target::Below(begin.clone()), Case::Sensitive);
            let one = glob(&pattern, &format!("{begin}{more}"));
            prop_assert!(found != Truth::Yes || one);
            prop_assert!(found != Truth::No || !one);
        }
    }
}

//! As much DER as a time stamp needs: definite lengths in their one spelling, tags of one byte.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: u8 = 0x05;
pub(super) const OID: u8 = 0x06;
pub(super) const GENERALIZED_TIME: u8 = 0x18;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// `[number]`, constructed.
pub(super) const fn context(number: u8) -> u8 {
    0xa0 | number
}

/// One element.
#[derive(Debug, Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    /// What is inside.
    pub(super) body: &'a [u8],
    /// The whole, with tag and length.
    pub(super) whole: &'a [u8],
}

/// Elements one after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The next element.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let start = self.0;
        let (tag, rest) = start.split_first()?;
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            short @ 0..=0x7f => (usize::from(*short), rest),
            long @ 0x81..=0x84 => {
                let (digits, rest) = rest.split_at_checked(usize::from(long & 0x7f))?;
                let length = digits.iter().try_fold(0usize, |length, digit| {
                    length.checked_mul(256)?.checked_add(usize::from(*digit))
                })?;
                // The shortest spelling only.
                if length < 0x80 || digits.first() == Some(&0) {
                    return None;
                }
                (length, rest)
            }
            _ => return None,
        };
        let (body, after) = rest.split_at_checked(length)?;
        let whole = start.get(..start.len().checked_sub(after.len())?)?;
        self.0 = after;
        Some(Element {
            tag: *tag,
            body,
            whole,
        })
    }

    /// The body of the next element, which has this tag.
    pub(super) fn one(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.any()
            .filter(|element| element.tag == tag)
            .map(|element| element.body)
    }

    /// What is inside of the next element, which has this tag.
    pub(super) fn inside(&mut self, tag: u8) -> Option<Self> {
        self.one(tag).map(Self)
    }

    /// The next element if it has this tag.
    pub(super) fn optional(&mut self, tag: u8) -> Option<Element<'a>> {
        if self.0.first() == Some(&tag) {
            self.any()
        } else {
            None
        }
    }
}

/// An element that holds these bytes one after the other.
pub(super) fn element(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let length = body.len().to_be_bytes();
    let zeros = length.iter().take_while(|digit| **digit == 0).count();
    let digits = length.get(zeros..).unwrap_or_default();
    let mut written = vec![tag];
    match (digits, u8::try_from(digits.len())) {
        ([], _) => written.push(0),
        ([short @ 0..=0x7f], _) => written.push(*short),
        (long, Ok(count)) => {
            written.push(0x80 | count);
            written.extend_from_slice(long);
        }
        // A length has at most eight digits.
        (_, Err(_)) => {}
    }
    written.extend_from_slice(&body);
    written
}

/// The body of an INTEGER that is not negative, in its one spelling.
pub(super) fn unsigned(bytes: &[u8]) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let digits = bytes.get(zeros..).unwrap_or_default();
    match digits.first() {
        None => vec![0],
        Some(0x80..) => [&[0], digits].concat(),
        Some(_) => digits.to_vec(),
    }
}

/// The value of an INTEGER that is not negative and small.
pub(super) fn small(body: &[u8]) -> Option<u64> {
    let negative = body.first().is_none_or(|first| *first >= 0x80);
    if negative || body.len() > 8 {
        return None;
    }
    body.iter().try_fold(0u64, |number, digit| {
        number.checked_mul(256)?.checked_add(u64::from(*digit))
    })
}

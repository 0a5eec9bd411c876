//! Patterns over paths: `?` is one byte, `*` any within a component, `**` any.

/// Whether `pattern` is all of `path`.
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    // The places in the pattern that can be reached with what was read so far: linear in both.
    let tokens = tokens(pattern);
    let mut reached = vec![false; tokens.len().saturating_add(1)];
    if let Some(first) = reached.first_mut() {
        *first = true;
    }
    pass_stars(&tokens, &mut reached);
    for &byte in path {
        let mut next = vec![false; reached.len()];
        for (at, token) in tokens.iter().enumerate() {
            if !reached.get(at).copied().unwrap_or(false) || !token.takes(byte) {
                continue;
            }
            let to = if token.is_star() {
                at
            } else {
                at.saturating_add(1)
            };
            if let Some(slot) = next.get_mut(to) {
                *slot = true;
            }
        }
        pass_stars(&tokens, &mut next);
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

/// Whether it is a plain path and no pattern.
pub(crate) fn is_plain(pattern: &[u8]) -> bool {
    !pattern.iter().any(|byte| matches!(byte, b'*' | b'?'))
}

enum Token {
    Byte(u8),
    One,
    Star,
    Stars,
}

impl Token {
    fn takes(&self, byte: u8) -> bool {
        match self {
            Self::Byte(expected) => *expected == byte,
            Self::One | Self::Star => byte != b'/',
            Self::Stars => true,
        }
    }

    fn is_star(&self) -> bool {
        matches!(self, Self::Star | Self::Stars)
    }
}

fn tokens(pattern: &[u8]) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    for &byte in pattern {
        match (byte, tokens.last()) {
            (b'*', Some(Token::Star | Token::Stars)) => {
                tokens.pop();
                tokens.push(Token::Stars);
            }
            (b'*', _) => tokens.push(Token::Star),
            (b'?', _) => tokens.push(Token::One),
            (byte, _) => tokens.push(Token::Byte(byte)),
        }
    }
    tokens
}

/// A star may stand for nothing.
fn pass_stars(tokens: &[Token], reached: &mut [bool]) {
    for (at, token) in tokens.iter().enumerate() {
        if token.is_star()
            && reached.get(at).copied().unwrap_or(false)
            && let Some(slot) = reached.get_mut(at.saturating_add(1))
        {
            *slot = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, path, expected) in [
            ("a.txt", "a.txt", true),
            ("a.txt", "b/a.txt", false),
            ("*.txt", "a.txt", true),
            ("*.txt", "b/a.txt", false),
            ("**.txt", "b/a.txt", true),
            ("**/*.txt", "b/a.txt", true),
            ("logs/*", "logs/a", true),
            ("logs/*", "logs/a/b", false),
            ("logs/**", "logs/a/b", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("*", "", true),
            ("", "", true),
            ("", "a", false),
            ("*a*b", "xaybzab", true),
            ("*a*b", "xaybza", false),
        ] {
            assert_eq!(
                matches(pattern.as_bytes(), path.as_bytes()),
                expected,
                "{pattern} {path}"
            );
        }
        assert!(matches(b"*.bin", b"\xff\xfe.bin"));
    }

    #[test]
    fn a_hostile_pattern_takes_no_time() {
        let pattern = "*a".repeat(2_000);
        assert!(!matches(pattern.as_bytes(), "a".repeat(1_999).as_bytes()));
    }
}

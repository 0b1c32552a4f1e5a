//! Percent-encoding, as in RFC 3986, section 2.1. Clients differ in what they encode; a line end and `%` must be.

use crate::protocol::typed::quoted;

/// The bytes that are encoded. A `+` is one: no client means a blank by it.
pub(super) fn decode(text: &str) -> Result<Vec<u8>, String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    decoded.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let byte = piece.get(..2).and_then(byte).ok_or_else(|| {
            let line = decoded.iter().filter(|byte| **byte == b'\n').count() + 1;
            let found: String = piece.chars().take(2).collect();
            format!(
                "line {line} of the decoded request: {} is no percent escape; accepted is `%` and two \
                 hexadecimal digits, `%25` for `%` itself",
                quoted(&format!("%{found}"))
            )
        })?;
        decoded.push(byte);
        decoded.extend_from_slice(piece.get(2..).unwrap_or_default().as_bytes());
    }
    Ok(decoded)
}

fn byte(digits: &str) -> Option<u8> {
    // `from_str_radix` takes a sign.
    let both = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(digits, 16).ok().filter(|_| both)
}

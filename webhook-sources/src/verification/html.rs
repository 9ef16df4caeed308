//! Entities of HTML in secrets.

use zeroize::Zeroizing;

/// The entities that `wp_specialchars_decode` of WordPress decodes with `ENT_QUOTES`, and no others: WooCommerce
/// keeps a secret encoded, and signs with the decoded one.
const ENTITIES: [(&str, char); 4] = [("amp", '&'), ("lt", '<'), ("gt", '>'), ("quot", '"')];

/// The longest entity that is decoded, between `&` and `;`, in bytes.
const MAX_ENTITY_BYTES: usize = 12;

/// Decodes the entities in `text`, once.
pub(super) fn decode(text: &str) -> Zeroizing<String> {
    // Decoding makes nothing longer; a growing buffer would leave copies in memory.
    let mut decoded = Zeroizing::new(String::with_capacity(text.len()));
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        decoded.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest[1..].split_once(';');
        if let Some((character, after)) = entity.and_then(|(name, after)| {
            let character = character(name)?;
            Some((character, after))
        }) {
            decoded.push(character);
            rest = after;
        } else {
            decoded.push('&');
            rest = &rest[1..];
        }
    }
    decoded.push_str(rest);
    decoded
}

fn character(name: &str) -> Option<char> {
    if name.len() > MAX_ENTITY_BYTES {
        return None;
    }
    if let Some((_, character)) = ENTITIES.iter().find(|(known, _)| *known == name) {
        return Some(*character);
    }
    let number = name.strip_prefix('#')?;
    let (digits, radix) = match number.strip_prefix(['x', 'X']) {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let code = is_number
        .then(|| u32::from_str_radix(digits, radix).ok())
        .flatten()?;
    char::from_u32(code).filter(|character| "&<>\"'".contains(*character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entities_are_decoded_once() {
        for (text, expected) in [
            ("plain", "plain"),
            ("a&amp;b", "a&b"),
            ("&amp;lt;", "&lt;"),
            ("&lt;&gt;&quot;&#039;&#39;&#x27;&#038;", "<>\"'''&"),
            ("&nbsp;&#65;&apos;", "&nbsp;&#65;&apos;"),
            ("&&amp;&;", "&&&;"),
            ("&#+39;&#;&#x;", "&#+39;&#;&#x;"),
            ("&", "&"),
            ("é&amp", "é&amp"),
        ] {
            assert_eq!(*decode(text), expected, "{text}");
        }
    }
}

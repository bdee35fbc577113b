//! Types that are sent as numbers and become text: identifiers and addresses.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::values::Wrong;

const V4: u8 = 2;
const V6: u8 = 3;

/// `8-4-4-4-12` hexadecimal digits.
pub(super) fn uuid(bytes: &[u8]) -> Result<String, Wrong> {
    let uuid = uuid::Uuid::from_slice(bytes).map_err(|_| Wrong::Damaged)?;
    Ok(uuid.hyphenated().to_string())
}

/// Two hexadecimal digits a byte, between colons.
pub(super) fn mac_address(bytes: &[u8]) -> Result<String, Wrong> {
    if !matches!(bytes.len(), 6 | 8) {
        return Err(Wrong::Damaged);
    }
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join(":"))
}

/// An address, with its mask where it is a network or the mask is not the whole address.
pub(super) fn inet(bytes: &[u8]) -> Result<String, Wrong> {
    let [family, bits, is_network, length, address @ ..] = bytes else { return Err(Wrong::Damaged) };
    if usize::from(*length) != address.len() {
        return Err(Wrong::Damaged);
    }
    let (text, whole) = match *family {
        V4 => {
            let four: [u8; 4] = address.try_into().map_err(|_| Wrong::Damaged)?;
            (Ipv4Addr::from(four).to_string(), 32)
        }
        V6 => {
            let sixteen: [u8; 16] = address.try_into().map_err(|_| Wrong::Damaged)?;
            (v6(Ipv6Addr::from(sixteen)), 128)
        }
        _ => return Err(Wrong::Damaged),
    };
    Ok(match *is_network != 0 || *bits != whole {
        true => format!("{text}/{bits}"),
        false => text,
    })
}

/// PostgreSQL writes an address with dots where an IPv4 one fills its last two groups, ours only if it is mapped.
fn v6(address: Ipv6Addr) -> String {
    let segments = address.segments();
    match segments[..6] == [0; 6] && segments[6] != 0 {
        true => {
            let [.., a, b, c, d] = address.octets();
            format!("::{}", Ipv4Addr::new(a, b, c, d))
        }
        false => address.to_string(),
    }
}

//! What a proxy says before its client's first byte: a PROXY protocol header, version 1 or 2.

use std::io;
use std::net::IpAddr;

use ppp::{v1, v2};

use crate::net::socket::Socket;

/// The longest header of version 1, with its end.
const LONGEST_LINE: usize = 107;

/// The longest header of version 2 that is taken. Addresses are 216 bytes at most; the rest is what
/// proxies add of their own.
const LONGEST_BLOCK: usize = 4096;

/// How version 2 begins, up to and with the length of what follows.
const MINIMUM_LENGTH: usize = 16;

/// As long as what version 2 begins with, and shorter than anything of version 1.
const START: usize = 12;

/// Reads the header and not a byte more. Gives the client's address; `None` when the proxy speaks
/// for itself, or does not know.
///
/// Whoever calls it bounds the time.
pub(super) async fn read(socket: &Socket) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; START];
    read_exact(socket, &mut header).await?;
    if header == v2::PROTOCOL_PREFIX {
        return read_block(socket, header).await;
    }
    if !header.starts_with(v1::PROTOCOL_PREFIX.as_bytes()) {
        return Err(malformed());
    }
    read_line(socket, header).await
}

async fn read_line(socket: &Socket, mut line: Vec<u8>) -> io::Result<Option<IpAddr>> {
    // Byte by byte, since what follows is not ours. It is a hundred bytes, once a connection.
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(malformed());
        }
        let mut byte = [0];
        read_exact(socket, &mut byte).await?;
        line.extend(byte);
    }
    let header = v1::Header::try_from(line.as_slice()).map_err(|_| malformed())?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(pair) => Some(pair.source_address.into()),
        v1::Addresses::Tcp6(pair) => Some(pair.source_address.into()),
        v1::Addresses::Unknown => None,
    })
}

async fn read_block(socket: &Socket, mut block: Vec<u8>) -> io::Result<Option<IpAddr>> {
    block.resize(MINIMUM_LENGTH, 0);
    read_exact(socket, &mut block[START..]).await?;
    let length = u16::from_be_bytes([block[START + 2], block[START + 3]]);
    let end = MINIMUM_LENGTH + usize::from(length);
    if end > LONGEST_BLOCK {
        return Err(malformed());
    }
    block.resize(end, 0);
    read_exact(socket, &mut block[MINIMUM_LENGTH..]).await?;
    let header = v2::Header::try_from(block.as_slice()).map_err(|_| malformed())?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Proxy, v2::Addresses::IPv4(pair)) => Some(pair.source_address.into()),
        (v2::Command::Proxy, v2::Addresses::IPv6(pair)) => Some(pair.source_address.into()),
        // The proxy looks whether we live, or the client has no address.
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified | v2::Addresses::Unix(_)) => None,
    })
}

async fn read_exact(socket: &Socket, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        socket.readable().await?;
        match socket.try_read(bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => bytes = &mut bytes[n..],
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

fn malformed() -> io::Error {
    let what = "no PROXY protocol header, which proxy.protocol asks for";
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use std::io;

    use tokio::io::AsyncWriteExt as _;
    use tokio::net::UnixStream;

    use super::{LONGEST_BLOCK, read};
    use crate::net::socket::Socket;

    /// What is read of `header`, sent in two pieces and followed by a request; and what is left.
    async fn read_of(header: &[u8], split: usize) -> (io::Result<Option<String>>, Vec<u8>) {
        let (mut proxy, ours) = UnixStream::pair().unwrap();
        let ours = Socket::from(ours);
        let sent = [header, b"GET"].concat();
        let (one, other) = sent.split_at(split);
        proxy.write_all(one).await.unwrap();
        let (read, ()) = tokio::join!(read(&ours), async {
            tokio::task::yield_now().await;
            proxy.write_all(other).await.ok();
            proxy.shutdown().await.ok();
        });
        let mut rest = vec![0; 16];
        let n = ours.try_read(&mut rest).unwrap_or(0);
        rest.truncate(n);
        (read.map(|from| from.map(|from| from.to_string())), rest)
    }

    fn block(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = u16::try_from(body.len()).unwrap().to_be_bytes();
        let start = b"\r\n\r\n\0\r\nQUIT\n";
        [start, &[command, family][..], &length, body].concat()
    }

    #[tokio::test]
    async fn the_header_tells_the_client_and_takes_nothing_of_what_follows() {
        let v6 = [&[0x20; 16][..], &[0; 16], &[0, 80, 0, 81]].concat();
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0, 80, 0, 81];
        let more = [&v4[..], &[4, 0, 1, 42]].concat();
        let headers = [
            (
                b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 80\r\n".to_vec(),
                Some("192.0.2.7"),
            ),
            (
                b"PROXY TCP6 2001:db8::7 ::1 4711 80\r\n".to_vec(),
                Some("2001:db8::7"),
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (block(0x21, 0x11, &v4), Some("192.0.2.7")),
            (block(0x21, 0x11, &more), Some("192.0.2.7")),
            (
                block(0x21, 0x21, &v6),
                Some("2020:2020:2020:2020:2020:2020:2020:2020"),
            ),
            (block(0x20, 0x00, b""), None),
            (block(0x20, 0x11, &v4), None),
            (block(0x21, 0x31, &[1; 216]), None),
        ];
        for (header, client) in headers {
            for split in [0, 1, 7, 12, 13, header.len() - 1, header.len()] {
                let (read, rest) = read_of(&header, split).await;
                assert_eq!(read.unwrap().as_deref(), client, "split at {split}");
                assert_eq!(rest, b"GET");
            }
        }
    }

    #[tokio::test]
    async fn anything_else_is_refused() {
        let v4 = [192, 0, 2, 7, 10, 0, 0, 1, 0, 80, 0, 81];
        let long = format!("PROXY TCP4 {}", "1".repeat(200));
        for header in [
            &b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..],
            b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
            b"PROXY TCP4 192.0.2.777 10.0.0.1 1 2\r\n",
            b"PROXY TCP4 2001:db8::7 ::1 4711 80\r\n",
            b"PROXY TCP4 192.0.2.7",
            b"PROXY",
            b"",
            long.as_bytes(),
            &block(0x11, 0x11, &v4),
            &block(0x21, 0x11, &v4[..8]),
            &block(0x21, 0x11, &v4)[..20],
            &block(0x21, 0x11, &vec![0; LONGEST_BLOCK]),
        ] {
            let (read, _) = read_of(header, 0).await;
            assert!(read.is_err(), "{:?}", String::from_utf8_lossy(header));
        }
    }
}

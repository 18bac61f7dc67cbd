//! What holds of a line, whatever is sent. Built only for fuzzing; see `crate::fuzzing`.

use crate::ingress::text::line::{Line, Order};
use crate::push::Target;
use crate::uid::Uid;

/// A line goes on as it came, to one user unless orders beyond the original's are taken.
pub(crate) fn line(bytes: &[u8]) {
    for extensions in [false, true] {
        let Ok(order) = Line::read(bytes).and_then(|line| line.order(extensions)) else {
            continue;
        };
        match order {
            Order::Push(target, text) => {
                let end = bytes.iter().rposition(|byte| *byte != b'\r');
                assert_eq!(text.as_bytes(), &bytes[..end.map_or(0, |at| at + 1)]);
                match target {
                    Target::Users(uids) => {
                        assert_eq!(uids.len(), 1);
                        assert!((1..=Uid::MAX_LEN).contains(&uids[0].as_str().len()));
                    }
                    Target::Everyone | Target::Group(_) => assert!(extensions, "{text}"),
                    Target::Topic(_) => panic!("lines know no topics: {text}"),
                }
            }
            Order::IsOnline(_) | Order::Kick(_) => assert!(extensions),
        }
    }
}

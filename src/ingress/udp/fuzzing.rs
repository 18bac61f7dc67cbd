//! What holds of a packet, whatever is sent. Built only for fuzzing; see `crate::fuzzing`.

use std::sync::Arc;

use crate::auth::api_keys::Keys;
use crate::config;
use crate::ingress::udp::PacketReader;
use crate::php::json;
use crate::push::Target;
use crate::topic::TopicReader;

/// A packet goes on as it came, less the secret, which it has to know where there is one.
pub(crate) fn packet(bytes: &[u8]) {
    let keys = Arc::new(Keys::open(&config::Api::default()).expect("there are none"));
    for matching in [config::Matching::Shared, config::Matching::Exact] {
        let config = config::Topics {
            matching,
            ..config::Topics::default()
        };
        let topics = Arc::new(TopicReader::new(&config));
        let open = PacketReader::new(Arc::clone(&topics), "".into(), Arc::clone(&keys));
        if let Ok(push) = open.read(bytes) {
            assert_eq!(push.content.frame.as_bytes(), bytes);
            assert!(matches!(push.target, Target::Topic(topic) if !topic.pairs().is_empty()));
        }
        let closed = PacketReader::new(topics, "s3".into(), Arc::clone(&keys));
        if let Ok(push) = closed.read(bytes) {
            let content = &push.content.frame;
            let mut names = Vec::new();
            let read = json::members(content, |_| true, |name, _| names.push(name));
            read.expect("an object stays one");
            assert!(!names.iter().any(|name| name == "secret"), "{content}");
            assert!(closed.read(content.as_bytes()).is_err(), "{content}");
        }
    }
}

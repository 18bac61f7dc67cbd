//! The push value: a message on its way from a publisher to pages. Knows no wire.

use std::sync::Arc;

use crate::uid::Uid;

/// Whom a push is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// Every page, logged in or not.
    Everyone,
    /// Every page of these users. Never holds one uid twice; empty when no addressee can exist.
    Users(Box<[Uid]>),
}

/// A message on its way. `content` is what pages get, already escaped where the ingress escapes.
#[derive(Debug, Clone)]
pub struct Push {
    /// Whom it is for.
    pub target: Target,
    /// The text that pages get.
    pub content: Arc<str>,
}

/// What became of a push when it was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It was for everyone, or at least one of its users has a session here.
    Online,
    /// None of the users it was for has a session.
    Offline,
}

//! Why a claim is refused: for people by `Display`, for programs by [`Refused::code`].

use crate::group::InvalidGroup;
use crate::uid::InvalidUid;

/// Why a claim is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The uid cannot be one.
    #[error(transparent)]
    Uid(#[from] InvalidUid),
    /// A name among the groups cannot be one.
    #[error(transparent)]
    Group(#[from] InvalidGroup),
    /// Longer than anybody is asked about; carries its length and the most, in bytes.
    #[error("login is {0} bytes long, the most is {1}")]
    TooLong(usize, usize),
    /// Not of a token's form, which it carries.
    #[error("not a token; expected {0}")]
    NotToken(&'static str),
    /// A field of the token is missing, or of another type than it has to be.
    #[error("token's {0} is missing, or not of its type")]
    Field(&'static str),
    /// The token's time is over.
    #[error("token has expired")]
    Expired,
    /// The token's time has not come.
    #[error("token is not valid yet")]
    NotYet,
    /// Signed by somebody else, or changed.
    #[error("token's signature is wrong")]
    Signature,
    /// Signed in a way in which none of its keys signs.
    #[error("token is not signed as its key signs")]
    Algorithm,
    /// Signed with a key that is not known.
    #[error("token's key is not known")]
    UnknownKey,
    /// Made for somebody else.
    #[error("token is for another audience")]
    Audience,
    /// Made by somebody else.
    #[error("token is from another issuer")]
    Issuer,
    /// The application does not want it; carries its reason, if it gave one.
    #[error("refused{}", reason(.0))]
    Unwanted(Option<Box<str>>),
    /// Nobody can tell for the moment: who is to be asked does not answer, or is asked too much.
    #[error("logins cannot be checked at the moment, try again later")]
    Unavailable,
}

impl Refused {
    /// A word for it that stays the same.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Uid(_) => "invalid_uid",
            Self::Group(_) => "invalid_group",
            Self::TooLong(..) => "too_long",
            Self::NotToken(_) => "not_a_token",
            Self::Field(_) => "invalid_field",
            Self::Expired => "token_expired",
            Self::NotYet => "token_not_yet_valid",
            Self::Signature => "bad_signature",
            Self::Algorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Audience => "wrong_audience",
            Self::Issuer => "wrong_issuer",
            Self::Unwanted(_) => "refused",
            Self::Unavailable => "unavailable",
        }
    }

    /// Every code, for what counts refusals.
    pub const CODES: [&'static str; 14] = [
        "invalid_uid",
        "invalid_group",
        "too_long",
        "not_a_token",
        "invalid_field",
        "token_expired",
        "token_not_yet_valid",
        "bad_signature",
        "wrong_algorithm",
        "unknown_key",
        "wrong_audience",
        "wrong_issuer",
        "refused",
        "unavailable",
    ];
}

fn reason(why: &Option<Box<str>>) -> String {
    why.as_ref()
        .map(|why| format!(": {why}"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::Refused;
    use crate::group::InvalidGroup;
    use crate::uid::InvalidUid;

    #[test]
    fn every_refusal_has_a_code_of_its_own() {
        let all = [
            Refused::Uid(InvalidUid::Empty),
            Refused::Group(InvalidGroup::Empty),
            Refused::TooLong(2, 1),
            Refused::NotToken(""),
            Refused::Field(""),
            Refused::Expired,
            Refused::NotYet,
            Refused::Signature,
            Refused::Algorithm,
            Refused::UnknownKey,
            Refused::Audience,
            Refused::Issuer,
            Refused::Unwanted(None),
            Refused::Unavailable,
        ];
        assert_eq!(all.each_ref().map(Refused::code), Refused::CODES);
    }

    #[test]
    fn the_applications_reason_is_told() {
        assert_eq!(Refused::Unwanted(None).to_string(), "refused");
        let banned = Refused::Unwanted(Some("banned".into()));
        assert_eq!(banned.to_string(), "refused: banned");
    }
}

//! What went wrong with one command, and what is known of it.

use ::redis::{ErrorKind, RedisError};

use super::address::Address;
use crate::store::StoreError;

/// What went wrong with one command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// The server said no, with this code: not carried out.
    Refused(String),
    /// A node of a cluster said that another one has this slot: not carried out.
    Moved { slot: u16, to: Address },
    /// A node of a cluster said that this slot is on its way, and the key may be at its new place already: not carried out.
    Ask { slot: u16, to: Address },
    /// The server may drop records by this policy, and was not asked.
    Evicts(String),
    /// There was no connection to send it on: not carried out.
    NoConnection(String),
    /// No answer in time: it may have been carried out, or may be later.
    Late,
    /// The connection was lost with the command on its way: it may have been carried out.
    Dropped,
    /// An answer of no known form: it may have been carried out.
    Unintelligible,
    /// Carried out, and it is not known whether enough replicas have it.
    Unreplicated(String),
    /// What is there is no record that can be read.
    Unreadable(String),
}

impl Failure {
    /// Whether the server cannot write at the moment and can still be read.
    pub(super) fn forbids_writes(&self) -> bool {
        match self {
            Self::Evicts(_) => true,
            Self::Refused(code) => ["OOM", "MISCONF", "NOREPLICAS"].contains(&code.as_str()),
            _ => false,
        }
    }

    /// What is known where an earlier try of the same command was lost: that one may have been carried out, whatever the later
    /// one was told.
    pub(super) fn after_a_loss(self) -> Self {
        match self {
            Self::Refused(_)
            | Self::Moved { .. }
            | Self::Ask { .. }
            | Self::Evicts(_)
            | Self::NoConnection(_) => Self::Dropped,
            other => other,
        }
    }

    /// What is known where the server refused to confirm what it carried out before.
    pub(super) fn after_a_write(self) -> Self {
        match self {
            Self::Refused(code) => Self::Unreplicated(format!("redis says {code}")),
            Self::Moved { .. } | Self::Ask { .. } => {
                Self::Unreplicated("its slot moved before replicas had it".to_owned())
            }
            other => other,
        }
    }

    /// In words, for operators.
    pub(super) fn why(self) -> String {
        match self {
            Self::NoConnection(why) => why,
            other => StoreError::from(other).to_string(),
        }
    }

    /// Whether another node of a cluster may stand in this one's place by now.
    pub(super) fn casts_doubt(&self) -> bool {
        match self {
            Self::NoConnection(_) | Self::Late | Self::Dropped => true,
            Self::Refused(code) => ["READONLY", "CLUSTERDOWN"].contains(&code.as_str()),
            _ => false,
        }
    }

    /// Whether another connection may find a server that does better: roles or passwords changed.
    pub(super) fn asks_for_another_connection(&self) -> bool {
        match self {
            Self::Dropped => true,
            Self::Refused(code) => ["READONLY", "NOAUTH", "WRONGPASS"].contains(&code.as_str()),
            _ => false,
        }
    }
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Self {
        let redirection = error
            .redirect_node()
            .and_then(|(to, slot)| Some((slot, Address::parse(to)?)));
        match (error.code(), redirection) {
            (Some("MOVED"), Some((slot, to))) => return Self::Moved { slot, to },
            (Some("ASK"), Some((slot, to))) => return Self::Ask { slot, to },
            _ => {}
        }
        match error.code() {
            Some("WRONGTYPE") => Self::Unreadable("its key holds another type of value".to_owned()),
            // Servers before 7.0 hide the code of what failed within a script.
            Some("ERR")
                if error
                    .detail()
                    .is_some_and(|text| text.contains("OOM command")) =>
            {
                Self::Refused("OOM".to_owned())
            }
            // The code alone: the text may quote what was sent.
            Some(code) => Self::Refused(code.to_owned()),
            None => match error.kind() {
                ErrorKind::AuthenticationFailed => Self::Refused("WRONGPASS".to_owned()),
                ErrorKind::InvalidClientConfig => Self::Refused("invalid settings".to_owned()),
                _ if error.is_timeout() => Self::Late,
                _ => Self::Dropped,
            },
        }
    }
}

impl From<Failure> for StoreError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Refused(code) => Self::Refused(format!("redis says {code}")),
            Failure::Moved { .. } => Self::Refused("redis says MOVED".to_owned()),
            Failure::Ask { .. } => Self::Refused("redis says ASK".to_owned()),
            Failure::Evicts(policy) => {
                Self::Refused(format!("redis may drop records: maxmemory-policy {policy}"))
            }
            Failure::NoConnection(why) => Self::Refused(format!("no connection to redis: {why}")),
            Failure::Late => Self::Unanswered("redis did not answer in time".to_owned()),
            Failure::Dropped => Self::Unanswered("the connection to redis was lost".to_owned()),
            Failure::Unintelligible => {
                Self::Unanswered("redis answered in a form that is not known".to_owned())
            }
            Failure::Unreplicated(why) => Self::Unanswered(why),
            Failure::Unreadable(why) => Self::Unreadable(why),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_of_the_server_is_a_definite_no() {
        let said = |code: &str| {
            let error = ::redis::make_extension_error(code.to_owned(), Some("secret".to_owned()));
            StoreError::from(Failure::from(error))
        };
        assert_eq!(
            said("OOM"),
            StoreError::Refused("redis says OOM".to_owned())
        );
        assert!(matches!(said("WRONGTYPE"), StoreError::Unreadable(_)));
        let (slot, to) = (
            7,
            Address {
                host: "b".to_owned(),
                port: 1,
            },
        );
        for failure in [
            Failure::Moved {
                slot,
                to: to.clone(),
            },
            Failure::Ask { slot, to },
            Failure::Refused("OOM".to_owned()),
            Failure::NoConnection("away".to_owned()),
        ] {
            assert_eq!(failure.after_a_loss(), Failure::Dropped);
        }
        for kind in [std::io::ErrorKind::BrokenPipe, std::io::ErrorKind::TimedOut] {
            let error = RedisError::from(std::io::Error::from(kind));
            assert!(matches!(
                StoreError::from(Failure::from(error)),
                StoreError::Unanswered(_)
            ));
        }
    }
}

//! The labels of the metrics page, and every value that one may have.

use std::fmt;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};

/// Declares an enum whose variants are label values.
macro_rules! labels {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum $name { $($(#[$variant_doc])* $variant,)+ }

        impl $name {
            /// Every one.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The value of the label.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl EncodeLabelValue for $name {
            fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), fmt::Error> {
                EncodeLabelValue::encode(&self.as_str(), encoder)
            }
        }
    };
}

labels! {
    /// What became of a request: label `outcome`.
    Outcome {
        /// Sent to the upstream, and its answer kept.
        Executed = "executed",
        /// Sent to the upstream, and its answer says that it was not carried out.
        Released = "released",
        /// The client left before anything was done.
        Abandoned = "abandoned",
        /// Answered from the store.
        Replayed = "replayed",
        /// Answered from the store after waiting for the first request.
        Waited = "waited",
        /// Refused, the first request was running.
        InProgress = "in_progress",
        /// Refused, the key belongs to another request.
        KeyReused = "key_reused",
        /// Refused, or ended, with an outcome that nobody knows.
        OutcomeUnknown = "outcome_unknown",
        /// Refused, no key.
        KeyMissing = "key_missing",
        /// Refused, malformed key.
        KeyInvalid = "key_invalid",
        /// Refused, a scope part twice.
        ScopeAmbiguous = "scope_ambiguous",
        /// No policy covers it.
        Bypassed = "bypassed",
        /// Refused, the store was unreachable or its record unreadable.
        StoreError = "store_error",
        /// Forwarded although the store was unreachable.
        ForwardedWithoutGuarantee = "forwarded_without_guarantee",
        /// Refused, the first answer was not kept.
        ResponseNotStored = "response_not_stored",
        /// Refused, the first answer belongs to other credentials.
        CredentialsChanged = "credentials_changed",
        /// Refused by a limit.
        Overloaded = "overloaded",
        /// Refused while stopping.
        Draining = "draining",
        /// Refused, malformed or ambiguous.
        BadRequest = "bad_request",
        /// Refused, the body was too large.
        BodyTooLarge = "body_too_large",
        /// Not sent to the upstream.
        UpstreamUnreachable = "upstream_unreachable",
        /// Sent, and the answer lost.
        UpstreamFailed = "upstream_failed",
        /// Sent, and not answered in time.
        UpstreamTimeout = "upstream_timeout",
        /// The client waited long enough; the exchange goes on.
        StillProcessing = "still_processing",
        /// Observed: enforcement would have executed it, and kept its answer.
        ObservedExecuted = "observed_executed",
        /// Observed: enforcement would have executed it, and freed the key.
        ObservedReleased = "observed_released",
        /// Observed: enforcement would have answered from the store.
        ObservedReplayed = "observed_replayed",
        /// Observed: refused, the first request was running.
        ObservedInProgress = "observed_in_progress",
        /// Observed: refused, the key belongs to another request.
        ObservedKeyReused = "observed_key_reused",
        /// Observed: refused, or ended, with an outcome that nobody knows.
        ObservedOutcomeUnknown = "observed_outcome_unknown",
        /// Observed: refused, no key.
        ObservedKeyMissing = "observed_key_missing",
        /// Observed: refused, malformed key.
        ObservedKeyInvalid = "observed_key_invalid",
        /// Observed: refused, a scope part twice.
        ObservedScopeAmbiguous = "observed_scope_ambiguous",
        /// Observed: refused, the first answer would not have been kept.
        ObservedResponseNotStored = "observed_response_not_stored",
        /// Observed: refused, the first answer belongs to other credentials.
        ObservedCredentialsChanged = "observed_credentials_changed",
        /// Observed: refused, malformed or ambiguous.
        ObservedBadRequest = "observed_bad_request",
        /// Observed: refused, the body was too large.
        ObservedBodyTooLarge = "observed_body_too_large",
        /// To be observed, and the store was unreachable or its record unreadable.
        ObservedStoreError = "observed_store_error",
        /// To be observed, and there was no room for it or it did not show.
        ObservedSkipped = "observed_skipped",
    }
}

impl Outcome {
    /// The same of a request that was only observed; itself where an observation makes no difference.
    #[must_use]
    pub fn observed(self) -> Self {
        match self {
            Self::Executed => Self::ObservedExecuted,
            Self::Released => Self::ObservedReleased,
            Self::Replayed => Self::ObservedReplayed,
            Self::InProgress => Self::ObservedInProgress,
            Self::KeyReused => Self::ObservedKeyReused,
            Self::OutcomeUnknown => Self::ObservedOutcomeUnknown,
            Self::KeyMissing => Self::ObservedKeyMissing,
            Self::KeyInvalid => Self::ObservedKeyInvalid,
            Self::ScopeAmbiguous => Self::ObservedScopeAmbiguous,
            Self::ResponseNotStored => Self::ObservedResponseNotStored,
            Self::CredentialsChanged => Self::ObservedCredentialsChanged,
            Self::BadRequest => Self::ObservedBadRequest,
            Self::BodyTooLarge => Self::ObservedBodyTooLarge,
            Self::StoreError => Self::ObservedStoreError,
            other => other,
        }
    }
}

labels! {
    /// Which limit refused something: label `limit`.
    Limit {
        /// `max_connections`
        MaxConnections = "max_connections",
        /// `max_in_flight`
        MaxInFlight = "max_in_flight",
        /// `max_buffered_total`
        MaxBufferedTotal = "max_buffered_total",
        /// `max_waiters`
        MaxWaiters = "max_waiters",
        /// `max_header_bytes`
        MaxHeaderBytes = "max_header_bytes",
        /// `max_request_body`
        MaxRequestBody = "max_request_body",
        /// `max_buffered_request`
        MaxBufferedRequest = "max_buffered_request",
        /// `max_stored_response`
        MaxStoredResponse = "max_stored_response",
        /// `upstream_connections.max_connections`
        UpstreamConnections = "upstream_max_connections",
    }
}

labels! {
    /// An operation on the store: label `op`.
    Operation {
        /// A record where there was none.
        Insert = "insert",
        /// A record for another.
        Replace = "replace",
        /// A heartbeat of a claim.
        Renew = "renew",
        /// Reading one record.
        Get = "get",
    }
}

labels! {
    /// What came of a reload: label `result`.
    ReloadResult {
        /// The program goes by the new configuration.
        Applied = "applied",
        /// It goes on by the old one.
        Refused = "refused",
    }
}

labels! {
    /// What an operator ordered: label `order`.
    AdminOrder {
        /// That it may run again.
        Release = "release",
        /// That it may run again, and is forgotten.
        Delete = "delete",
        /// That it was carried out.
        ResolveExecuted = "resolve_executed",
        /// That it was not.
        ResolveNotExecuted = "resolve_not_executed",
    }
}

labels! {
    /// What came of an order: label `outcome`.
    AdminOutcome {
        /// The record is as ordered.
        Made = "made",
        /// The record did not allow it.
        Refused = "refused",
        /// The store did not take it, or did not say so.
        Failed = "failed",
    }
}

labels! {
    /// Why the operators' listener let a request not in: label `reason`.
    AdminRefusal {
        /// No token.
        TokenMissing = "token_missing",
        /// Another token than the operators'.
        TokenWrong = "token_wrong",
        /// A Host of no name of ours.
        Host = "host",
        /// From a page of another origin.
        Origin = "origin",
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AdminChangeLabels {
    pub(super) order: AdminOrder,
    pub(super) outcome: AdminOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct AdminRefusedLabels {
    pub(super) reason: AdminRefusal,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ConfigLabels {
    pub(super) hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReloadLabels {
    pub(super) result: ReloadResult,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RequestLabels {
    pub(super) route: String,
    pub(super) outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct LimitLabels {
    pub(super) limit: Limit,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StoreLabels {
    pub(super) op: Operation,
}

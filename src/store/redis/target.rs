//! Which server, and as whom.

use ::redis::{ConnectionAddr, IntoConnectionInfo, ProtocolVersion, RedisConnectionInfo};

use super::SetupError;
use super::address::Address;
use super::transport::Transport;

/// Which server, as whom, and over what. Holds the password: it has no `Debug`.
#[derive(Clone)]
pub(super) struct Target {
    address: Address,
    login: RedisConnectionInfo,
    transport: Transport,
}

impl Target {
    /// Reads `redis://[user:password@]host[:port][/database]`.
    pub(super) fn parse(url: &str) -> Result<Self, SetupError> {
        if !url.starts_with("redis://") {
            return Err(SetupError::Scheme);
        }
        // The crate's own error may quote the URL, password included.
        let info = url.into_connection_info().map_err(|_| SetupError::Url)?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else {
            return Err(SetupError::Scheme);
        };
        let login = info
            .redis_settings()
            .clone()
            .set_protocol(ProtocolVersion::RESP2)
            .set_lib_name("idemproxy", env!("CARGO_PKG_VERSION"));
        let host = host.trim_matches(['[', ']']).to_owned();
        Ok(Self {
            address: Address { host, port: *port },
            login,
            transport: Transport::Plain,
        })
    }

    /// The same, over this.
    pub(super) fn over(self, transport: &Transport) -> Self {
        Self {
            transport: transport.clone(),
            ..self
        }
    }

    /// Another server, as the same user and in the same way.
    pub(super) fn beside(&self, address: &Address) -> Self {
        Self {
            address: address.clone(),
            ..self.clone()
        }
    }

    /// Where to connect to; a name is resolved anew each time.
    pub(super) fn address(&self) -> (&str, u16) {
        (&self.address.host, self.address.port)
    }

    /// As whom, and to which database.
    pub(super) fn login(&self) -> &RedisConnectionInfo {
        &self.login
    }

    /// In the clear, or over TLS.
    pub(super) fn transport(&self) -> &Transport {
        &self.transport
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_server_user_and_database() {
        let target = Target::parse("redis://me:pass@redis.example:7000/3").unwrap();
        assert_eq!(target.address(), ("redis.example", 7000));
        assert_eq!(target.login().db(), 3);
        assert_eq!(target.login().password(), Some("pass"));
        assert_eq!(target.to_string(), "redis.example:7000");
        let local = Target::parse("redis://[::1]").unwrap();
        assert_eq!(local.address(), ("::1", 6379));
    }

    #[test]
    fn a_bad_url_is_refused_without_its_password() {
        for url in [
            "redis://:pass@host:port",
            "redis://:pass@host/db",
            "rediss://:pass@h",
            "http://:pass@h",
        ] {
            let error = Target::parse(url).err().unwrap();
            assert!(!error.to_string().contains("pass@"), "{error}");
        }
    }
}

//! Where to ask for a cluster first.

use super::URL;
use crate::store::redis::SetupError;
use crate::store::redis::target::Target;
use crate::store::redis::transport::Transport;

/// Reads `redis+cluster://[user:password@]host[:port],…`: a server for each host, all as the same user; the first one, and the others.
pub(super) fn parse(url: &str, transport: &Transport) -> Result<(Target, Vec<Target>), SetupError> {
    let rest = url.strip_prefix(URL).ok_or(SetupError::Scheme)?;
    let (user, rest) = match rest.rsplit_once('@') {
        Some((user, rest)) => (format!("{user}@"), rest),
        None => (String::new(), rest),
    };
    let (hosts, tail) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let mut seeds = hosts.split(',').map(|host| {
        if host.is_empty() {
            return Err(SetupError::Url);
        }
        let target = Target::parse(&format!("redis://{user}{host}{tail}"))?.over(transport);
        if target.login().db() != 0 {
            return Err(SetupError::Database);
        }
        Ok(target)
    });
    let first = seeds.next().ok_or(SetupError::Url)??;
    Ok((first, seeds.collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seeds(url: &str) -> Vec<String> {
        let (first, others) = parse(url, &Transport::Plain).unwrap();
        let all = std::iter::once(&first).chain(&others);
        all.map(ToString::to_string).collect()
    }

    #[test]
    fn every_host_is_a_server_with_the_same_user() {
        let url = "redis+cluster://me:p%2Css@a:7000,b,[::1]:7001";
        assert_eq!(seeds(url), ["a:7000", "b:6379", "[::1]:7001"]);
        let (first, others) = parse(url, &Transport::Plain).unwrap();
        assert_eq!(first.login().password(), Some("p,ss"));
        assert_eq!(others[1].login().password(), Some("p,ss"));
        assert_eq!(seeds("redis+cluster://a/0"), ["a:6379"]);
    }

    #[test]
    fn what_is_no_list_of_hosts_is_refused_without_its_password() {
        for url in [
            "redis+cluster://",
            "redis+cluster://:pass@",
            "redis+cluster://:pass@a,",
            "redis+cluster://:pass@a,,b",
            "redis+cluster://:pass@a,b:port",
            "redis+cluster://:pass@a/0,b",
            "redis://:pass@a,b",
        ] {
            let error = parse(url, &Transport::Plain).err().unwrap();
            assert!(!error.to_string().contains("pass@"), "{error}");
        }
        let other = parse("redis+cluster://:pass@a,b/1", &Transport::Plain).err();
        assert_eq!(other, Some(SetupError::Database));
    }
}

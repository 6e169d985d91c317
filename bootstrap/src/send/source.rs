//! The source of events whose lines name none, by the path of their file.
//!
//! * A file has the same source before and after it is rotated: suffixes of rotation and compression do not count.
//! * The files of containers have the source of their container: `pods/NAMESPACE_POD_UID/CONTAINER/0.log` and
//!   `containers/POD_NAMESPACE_CONTAINER-ID.log` (Kubernetes, kubelet), `ID-json.log` (Docker, driver `json-file`).

use std::path::Path;

/// Characters of an identifier of a container.
const CONTAINER_ID_CHARS: usize = 64;
/// Characters of it that Docker shows.
const CONTAINER_ID_SHOWN_CHARS: usize = 12;
/// Suffixes of compressed files, also of those that are refused with advice.
const COMPRESSIONS: [&str; 7] = [".gz", ".zst", ".xz", ".bz2", ".lz4", ".Z", ".zip"];
/// Maximum digits of the number of a rotated file.
const NUMBER_DIGITS_MAX: usize = 5;

/// The source of events whose lines name none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// The pod that wrote the file, if the path says so.
    pub pod: Option<Pod>,
}

/// A pod of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// The namespace.
    pub namespace: String,
    /// The name within the namespace.
    pub name: String,
}

impl Source {
    /// A source without a pod.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self { name: name.to_owned(), pod: None }
    }

    /// The source of the file at this path.
    #[must_use]
    pub fn of_file(path: &Path) -> Self {
        let names: Vec<String> = path.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let mut backwards = names.iter().rev().map(String::as_str);
        let file = backwards.next().unwrap_or_default();
        let [directory, above, top] = [(); 3].map(|()| backwards.next().unwrap_or_default());
        let pod = if top == "pods" { of_pods(above, directory) } else { None };
        let container = || if directory == "containers" { of_containers(file) } else { None };
        pod.or_else(container).unwrap_or_else(|| Self::named(of_name(file)))
    }
}

/// `NAMESPACE_POD_UID` and `CONTAINER`, which are directories.
fn of_pods(pod: &str, container: &str) -> Option<Source> {
    let [namespace, pod, _uid] = parts(pod)?;
    Some(of_pod(namespace, pod, container))
}

/// `POD_NAMESPACE_CONTAINER-ID.log`
fn of_containers(file: &str) -> Option<Source> {
    let [pod, namespace, container] = parts(file.strip_suffix(".log")?)?;
    let (container, id) = container.rsplit_once('-')?;
    (is_container_id(id) && !container.is_empty()).then(|| of_pod(namespace, pod, container))
}

fn of_pod(namespace: &str, pod: &str, container: &str) -> Source {
    let pod = Pod { namespace: namespace.to_owned(), name: pod.to_owned() };
    Source { name: container.to_owned(), pod: Some(pod) }
}

/// Three names with underscores between them. Names of Kubernetes have none.
fn parts(text: &str) -> Option<[&str; 3]> {
    let mut parts = text.split('_');
    let three = [parts.next()?, parts.next()?, parts.next()?];
    (parts.next().is_none() && three.iter().all(|part| !part.is_empty())).then_some(three)
}

fn is_container_id(text: &str) -> bool {
    text.len() == CONTAINER_ID_CHARS && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// The name of a file without its extension and without suffixes of rotation and compression.
fn of_name(file: &str) -> &str {
    let name = COMPRESSIONS.iter().find_map(|suffix| stripped(file, suffix)).unwrap_or(file);
    let name = without_date(name).or_else(|| without_number(name)).unwrap_or(name);
    let name = name.rsplit_once('.').map(|(stem, _)| stem).filter(|stem| !stem.is_empty()).unwrap_or(name);
    if let Some(id) = name.strip_suffix("-json").filter(|id| is_container_id(id)) {
        return id.get(..CONTAINER_ID_SHOWN_CHARS).unwrap_or(id);
    }
    // `app-20261129.log`. A number there is part of the name: `app-1.2.log`.
    without_date(name).unwrap_or(name)
}

fn stripped<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    name.strip_suffix(suffix).filter(|rest| !rest.is_empty())
}

/// Without a number: `app.log.1`.
fn without_number(name: &str) -> Option<&str> {
    let (rest, number) = name.rsplit_once('.')?;
    let is_number = (1..=NUMBER_DIGITS_MAX).contains(&number.len()) && number.bytes().all(|byte| byte.is_ascii_digit());
    (is_number && !rest.is_empty()).then_some(rest)
}

/// Without a date, and a time or a number behind it: `app.log.2026-11-29`, `app-20261129`, `app-2026-11-29_10.3`.
fn without_date(name: &str) -> Option<&str> {
    let is_separator = |character: char| matches!(character, '.' | '-' | '_');
    let tail = name.trim_end_matches(|character: char| character.is_ascii_digit() || is_separator(character));
    let (begin, tail) = name.split_at(tail.len());
    let mut separators = tail.match_indices(is_separator);
    let (position, _) = separators.find(|(position, _)| tail.get(position + 1..).is_some_and(begins_with_date))?;
    name.get(..begin.len() + position).filter(|rest| !rest.is_empty())
}

/// `2026-11-29` or `20261129`
fn begins_with_date(text: &str) -> bool {
    let Some((year, rest)) = text.split_at_checked(4) else { return false };
    let (rest, dash) = rest.strip_prefix('-').map_or((rest, ""), |rest| (rest, "-"));
    let Some((month, rest)) = rest.split_at_checked(2) else { return false };
    let Some((day, _)) = rest.strip_prefix(dash).and_then(|rest| rest.split_at_checked(2)) else { return false };
    let is_within = |text: &str, min: u16, max: u16| {
        text.bytes().all(|byte| byte.is_ascii_digit())
            && text.parse().is_ok_and(|number: u16| (min..=max).contains(&number))
    };
    is_within(year, 1970, 2999) && is_within(month, 1, 12) && is_within(day, 1, 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn the_source_is_the_name_without_extension_rotation_and_compression() {
        for (path, source) in [
            ("/var/log/app.log", "app"),
            ("app.web.log", "app.web"),
            ("app", "app"),
            ("app.log.gz", "app"),
            ("app.gz", "app"),
            ("app.log.1", "app"),
            ("app.log.2.gz", "app"),
            ("app.log.2.xz", "app"),
            ("app.log.1.zst", "app"),
            ("app.log.2026-11-29", "app"),
            ("app.log.2026-11-29.1", "app"),
            ("app-20261129.log", "app"),
            ("app-2026-11-29.0.log.gz", "app"),
            ("app.2026-11-29_10.log", "app"),
            ("app.log-20261129.gz", "app"),
            ("app.log-2026112910", "app"),
            ("syslog.1", "syslog"),
            ("messages-20261129", "messages"),
            // These are part of the name.
            ("app-1.2.log", "app-1.2"),
            ("app-20261399.log", "app-20261399"),
            ("node-1.log", "node-1"),
            ("2026-11-29.log", "2026-11-29"),
            (".gz", ".gz"),
            (".log", ".log"),
        ] {
            assert_eq!(Source::of_file(Path::new(path)), Source::named(source), "{path}");
        }
    }

    #[test]
    fn files_of_containers_have_the_source_of_the_container_and_its_pod() {
        let pod = |container: &str| Source {
            name: container.to_owned(),
            pod: Some(Pod { namespace: "shop".to_owned(), name: "web-0".to_owned() }),
        };
        for (path, source) in [
            ("/var/log/pods/shop_web-0_5f1c/cart/0.log".to_owned(), pod("cart")),
            ("/host/pods/shop_web-0_5f1c/cart/0.log.20261129-101112.gz".to_owned(), pod("cart")),
            (format!("/var/log/containers/web-0_shop_cart-db-{ID}.log"), pod("cart-db")),
            (format!("/var/lib/docker/containers/{ID}/{ID}-json.log"), Source::named("0123456789ab")),
            (format!("{ID}-json.log.1"), Source::named("0123456789ab")),
            // Others that look alike.
            ("pods/shop_web-0/cart/0.log".to_owned(), Source::named("0")),
            ("containers/web_shop_cart-12ab.log".to_owned(), Source::named("web_shop_cart-12ab")),
            ("a-json.log".to_owned(), Source::named("a-json")),
        ] {
            assert_eq!(Source::of_file(Path::new(&path)), source, "{path}");
        }
    }

    proptest! {
        #[test]
        fn every_name_has_a_source(name in "[a1._é-]{1,20}|\\PC{1,20}") {
            let source = Source::of_file(Path::new(&name)).name;
            prop_assert!(!source.is_empty() || Path::new(&name).file_name().is_none(), "{}", name);
        }
    }
}

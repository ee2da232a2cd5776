//! RFC 9110 and 9112 over raw sockets: the cases of `tests/raw/*.toml` against one proxy, with an
//! upstream that keeps every byte. A case says what is sent, what must be answered, what must
//! arrive; what must hold for every message that arrives stands in [`invariants`].

use crate::{
    recorder::{Framing, Message, OK, Recorder, Step},
    support::{CONFIG, Home},
    wire::{Got, Wire},
};
use std::{
    collections::BTreeSet,
    fs,
    io::Write as _,
    net::{Shutdown, SocketAddr},
    path::Path,
    thread,
    time::Duration,
};
use toml_edit::{Document, Item, Table};

/// The credential of the active account in [`CONFIG`].
const SIGNED: &str = "Basic c2E6aHVudGVyMi1zZWNyZXQ=";

#[test]
fn every_raw_case_holds() {
    let home = Home::new(CONFIG);
    let upstream = Recorder::start();
    let proxy = home.serve(&upstream.url(), &["--header-timeout", "5", "--idle-timeout", "5"]);
    let (mut count, mut sections, mut names) = (0, BTreeSet::new(), BTreeSet::new());
    let mut failures = Vec::new();
    let only = std::env::var("MP_PROXY_RAW_CASE").ok();
    let mut files: Vec<_> = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/raw"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let document = Document::parse(text.as_str()).unwrap_or_else(|error| {
            panic!("{}: {error}", file.display());
        });
        for case in document["case"].as_array_of_tables().unwrap() {
            let case = Case::read(case, proxy.address);
            assert!(case.section.starts_with("911"), "{}: no section", case.name);
            assert!(names.insert(case.name.clone()), "two cases are called `{}`", case.name);
            if only.as_ref().is_some_and(|only| !case.name.contains(only.as_str())) {
                continue;
            }
            sections.insert(case.section.clone());
            count += 1;
            // A second try: what the case before left behind may have arrived in this one.
            let tried = case.run(proxy.address, &upstream).or_else(|_| {
                thread::sleep(Duration::from_millis(100));
                case.run(proxy.address, &upstream)
            });
            if case.maybe {
                thread::sleep(Duration::from_millis(20));
            }
            if let Err(why) = tried {
                failures.push(format!("RFC {}, {}: {why}", case.section, case.name));
            }
        }
    }
    let last = proxy.get("/_mp/livez", "");
    assert_eq!(last.status, 200, "the proxy is gone");
    let smuggled = upstream.lines().into_iter().find(|line| line.contains("SMUGGLED"));
    assert_eq!(smuggled, None, "a smuggled request arrived");
    assert!(failures.is_empty(), "{} of {count} fail:\n{}", failures.len(), failures.join("\n"));
    assert!(only.is_some() || count >= 200, "only {count} cases");
    assert!(only.is_some() || sections.len() >= 30, "only {} sections", sections.len());
}

struct Case {
    section: String,
    name: String,
    send: Vec<Step>,
    reply: Vec<Step>,
    early: bool,
    /// One entry an answer: `200`, `400|501`, or `-` for an end without an answer.
    want: Vec<String>,
    /// How many messages; without it, as many as there are answers below 400.
    arrives: Option<usize>,
    /// One message or none: the caller broke off before anything had to be sent.
    maybe: bool,
    closes: bool,
    methods: Vec<String>,
    /// Of the last message that arrived.
    line: Option<String>,
    has: Vec<String>,
    lacks: Vec<String>,
    body: Option<Vec<u8>>,
    framing: Option<String>,
    cut: bool,
    /// Of the last answer.
    got_has: Vec<String>,
    got_lacks: Vec<String>,
    got_body: Option<Vec<u8>>,
    got_cut: bool,
}

const KEYS: [&str; 20] = [
    "section",
    "name",
    "send",
    "reply",
    "early",
    "maybe",
    "want",
    "arrives",
    "closes",
    "methods",
    "line",
    "has",
    "lacks",
    "body",
    "framing",
    "cut",
    "got_has",
    "got_lacks",
    "got_body",
    "got_cut",
];

impl Case {
    fn read(table: &Table, host: SocketAddr) -> Self {
        let name = table["name"].as_str().unwrap().to_owned();
        for (key, _) in table {
            assert!(KEYS.contains(&key), "{name}: unknown key `{key}`");
        }
        let list = |key: &str| match table.get(key) {
            None => Vec::new(),
            Some(item) => strings(item),
        };
        let text = |key: &str| table.get(key).map(|item| item.as_str().unwrap().to_owned());
        let flag = |key: &str| table.get(key).is_some_and(|item| item.as_bool().unwrap());
        let want = list("want");
        let reply = match table.get("reply") {
            None => vec![Step::Bytes(OK.to_vec())],
            Some(_) => steps(&list("reply"), host),
        };
        Self {
            section: text("section").unwrap(),
            send: steps(&list("send"), host),
            reply,
            early: flag("early"),
            maybe: flag("maybe"),
            arrives: table
                .get("arrives")
                .map(|item| usize::try_from(item.as_integer().unwrap()).unwrap()),
            closes: flag("closes"),
            methods: list("methods"),
            line: text("line"),
            has: list("has"),
            lacks: list("lacks"),
            body: text("body").map(|text| bytes(&text, host)),
            framing: text("framing"),
            cut: flag("cut"),
            got_has: list("got_has"),
            got_lacks: list("got_lacks"),
            got_body: text("got_body").map(|text| bytes(&text, host)),
            got_cut: flag("got_cut"),
            want,
            name,
        }
    }

    fn run(&self, proxy: SocketAddr, upstream: &Recorder) -> Result<(), String> {
        upstream.expect(self.reply.clone(), self.early);
        let answers = self.converse(proxy)?;
        let statuses: Vec<_> = answers.iter().map(|answer| answer.status.to_string()).collect();
        let fits = |(want, got): (&String, &String)| want.split('|').any(|want| want == got);
        let endings = self.want.iter().filter(|want| want.split('|').any(|one| one == "-")).count();
        let enough = (self.want.len() - endings..=self.want.len()).contains(&statuses.len());
        if !enough || !self.want.iter().zip(&statuses).all(fits) {
            return Err(format!("answers {statuses:?} instead of {:?}", self.want));
        }
        if let Some(answer) = answers.last() {
            self.check_answer(answer)?;
        }
        let passed = answers.iter().filter(|answer| answer.status < 400).count();
        let arrives = self.arrives.unwrap_or(passed);
        let messages = upstream.messages(arrives);
        let counted = messages.len() == arrives || (self.maybe && messages.len() == 1);
        if !counted || !upstream.stray().is_empty() {
            let lines: Vec<_> = messages.iter().map(|message| &message.line).collect();
            let stray: Vec<_> =
                upstream.stray().iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect();
            return Err(format!("{lines:?} arrived, {arrives} expected; stray {stray:?}"));
        }
        for message in &messages {
            invariants(message)?;
        }
        messages.last().map_or(Ok(()), |message| self.check_message(message))
    }

    fn check_answer(&self, answer: &Got) -> Result<(), String> {
        for (field, _) in &answer.fields {
            if field.to_ascii_lowercase().starts_with("access-control-") {
                return Err(format!("a CORS field `{field}` in the answer"));
            }
        }
        let shown = |field: &(String, String)| format!("{}: {}", field.0.to_lowercase(), field.1);
        let fields: Vec<_> = answer.fields.iter().map(shown).collect();
        expect_fields(&fields, &self.got_has, &self.got_lacks, "answer")?;
        if answer.whole == self.got_cut {
            return Err(format!("the answer ended cleanly: {}", answer.whole));
        }
        match &self.got_body {
            Some(want) if *want != answer.body => {
                Err(format!("body {:?} in the answer", String::from_utf8_lossy(&answer.body)))
            }
            _ => Ok(()),
        }
    }

    fn check_message(&self, message: &Message) -> Result<(), String> {
        if let Some(line) = &self.line
            && message.line != format!("{line} HTTP/1.1")
        {
            return Err(format!("`{}` arrived", message.line));
        }
        let shown = |field: &(String, String)| format!("{}: {}", field.0.to_lowercase(), field.1);
        let fields: Vec<_> = message.fields.iter().map(shown).collect();
        expect_fields(&fields, &self.has, &self.lacks, "message")?;
        let framing = match message.framing {
            Framing::None => "none",
            Framing::Length => "length",
            Framing::Chunked => "chunked",
        };
        if self.framing.as_deref().is_some_and(|want| want != framing) {
            return Err(format!("arrived framed by `{framing}`"));
        }
        if message.whole == self.cut && (self.cut || !self.maybe) {
            return Err(format!("arrived whole: {}", message.whole));
        }
        match &self.body {
            Some(want) if *want != message.body => {
                Err(format!("body {:?} arrived", String::from_utf8_lossy(&message.body)))
            }
            _ => Ok(()),
        }
    }

    fn converse(&self, proxy: SocketAddr) -> Result<Vec<Got>, String> {
        let mut wire = Wire::connect(proxy);
        for step in &self.send {
            match step {
                // The proxy may have refused and closed already; what it said counts.
                Step::Bytes(bytes) => drop(wire.stream.write_all(bytes)),
                Step::Pause(ms) => thread::sleep(Duration::from_millis(*ms)),
                Step::Fin => drop(wire.stream.shutdown(Shutdown::Write)),
                Step::Close => return Ok(Vec::new()),
                Step::Interim(status) => {
                    let got = wire.answer("GET", true)?.ok_or("no interim answer")?;
                    if got.status != *status {
                        return Err(format!("{} instead of the interim {status}", got.status));
                    }
                }
            }
        }
        let mut answers = Vec::new();
        while answers.len() < self.want.len() {
            let method = self.methods.get(answers.len()).map_or("GET", String::as_str);
            match wire.answer(method, false)? {
                None => break,
                Some(got) => answers.push(got),
            }
        }
        let limit = if self.closes { Duration::from_secs(3) } else { Duration::from_millis(10) };
        let ended = wire.ends_within(limit)?;
        if self.closes && !ended {
            return Err("the proxy kept the connection".to_owned());
        }
        Ok(answers)
    }
}

/// What holds for whatever arrives, whole or cut.
fn invariants(message: &Message) -> Result<(), String> {
    let fail = |why: &str| Err(format!("{why}: {} {:?}", message.line, message.fields));
    if message.line.contains("SMUGGLED") {
        return fail("a smuggled request arrived");
    }
    if message.all("authorization") != [SIGNED] {
        return fail("not signed exactly once");
    }
    if message.all("host").len() != 1 || !message.all("host")[0].starts_with("127.0.0.1:") {
        return fail("not exactly one upstream Host");
    }
    if message.all("content-length").len() + message.all("transfer-encoding").len() > 1 {
        return fail("framed twice");
    }
    let hop =
        ["connection", "keep-alive", "proxy-connection", "te", "upgrade", "proxy-authorization"];
    if let Some(name) = hop.iter().find(|name| !message.all(name).is_empty()) {
        return fail(&format!("the hop-by-hop field `{name}` arrived"));
    }
    let ours = ["1.1 mp-proxy", "1.0 mp-proxy"];
    if !message.all("via").last().is_some_and(|via| ours.iter().any(|ours| via.ends_with(ours))) {
        return fail("no `Via`");
    }
    let ours = |name: &str| name.to_lowercase().replace('_', "-").starts_with("x-mp-");
    for (name, _) in &message.fields {
        if ours(name) && !name.eq_ignore_ascii_case("x-mp-proxy-origin") {
            return fail("one of our own fields arrived");
        }
    }
    Ok(())
}

fn expect_fields(have: &[String], want: &[String], ban: &[String], of: &str) -> Result<(), String> {
    for field in want {
        if !have.contains(field) {
            return Err(format!("the {of} has no `{field}`: {have:?}"));
        }
    }
    for name in ban {
        if have.iter().any(|field| field.starts_with(&format!("{name}:"))) {
            return Err(format!("the {of} has `{name}`: {have:?}"));
        }
    }
    Ok(())
}

fn strings(item: &Item) -> Vec<String> {
    match item.as_array() {
        Some(array) => array.iter().map(|value| value.as_str().unwrap().to_owned()).collect(),
        None => vec![item.as_str().unwrap().to_owned()],
    }
}

fn steps(list: &[String], host: SocketAddr) -> Vec<Step> {
    let step = |text: &String| match text.as_str() {
        "@pause" => Step::Pause(60),
        "@long" => Step::Pause(300),
        "@fin" => Step::Fin,
        "@close" => Step::Close,
        "@100" => Step::Interim(100),
        text => Step::Bytes(bytes(text, host)),
    };
    list.iter().map(step).collect()
}

/// One byte a character. `{h}` is the proxy's address, `{c*N}` is N times `c`, `{fields*N}` is N
/// header lines.
fn bytes(text: &str, host: SocketAddr) -> Vec<u8> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let (inner, after) = after.split_once('}').unwrap();
        match inner.split_once('*') {
            None => out.push_str(&host.to_string()),
            Some(("fields", count)) => {
                (0..count.parse().unwrap())
                    .for_each(|n: u32| out.push_str(&format!("X-F{n}: v\r\n")));
            }
            Some((what, count)) => out.push_str(&what.repeat(count.parse().unwrap())),
        }
        rest = after;
    }
    out.push_str(rest);
    out.chars().map(|c| u8::try_from(u32::from(c)).unwrap()).collect()
}

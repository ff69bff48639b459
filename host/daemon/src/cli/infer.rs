//! `host infer`: sends pictures and JSON requests to a model, several at once, and prints the answers in the order of the
//! files. Where file names end in `_LABEL`, it counts how many answers are that label.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::Args;
use host_wire::oip::{Answer, Tensor, text_elements};
use serde_json::Value;
use tokio::task::JoinSet;

use super::{Global, client::Door, screen::Screen};
use crate::error::{Error, Fault};

#[derive(Debug, Args)]
pub(super) struct InferArgs {
    /// Name of the model, or NAME@VERSION
    model: String,
    /// Pictures (.png, .jpg, .jpeg) or requests (.json)
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Classes to print for each picture
    #[arg(long, default_value_t = 1)]
    top: u32,
    /// Requests that are sent at once
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=256))]
    at_once: u16,
    /// Have the devices on the way of each request to itself: nothing else runs there meanwhile
    #[arg(long)]
    exclusive: bool,
}

/// What a picture was taken for.
#[derive(Clone, PartialEq, Debug)]
struct Class {
    label: String,
    probability: f64,
}

/// What came back for a file.
#[derive(Clone, PartialEq, Debug)]
enum Reply {
    Classes(Vec<Class>),
    Json(String),
}

/// How a file is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Picture(&'static str),
    Request,
}

pub(super) async fn infer(global: &Global, screen: &mut Screen, args: InferArgs) -> Result<(), Error> {
    let kinds = args.files.iter().map(|file| kind(file)).collect::<Result<Vec<_>, _>>()?;
    let door = Arc::new(Door::find(global).await?);
    let path = match args.model.split_once('@') {
        Some((name, version)) => format!("/v2/models/{name}/versions/{version}/infer"),
        None => format!("/v2/models/{}/infer", args.model),
    };
    let mut report = Report::new(screen, &args.files)?;
    let mut next = args.files.iter().zip(kinds).enumerate();
    let mut under_way = JoinSet::new();
    loop {
        while under_way.len() < usize::from(args.at_once) {
            let Some((index, (file, kind))) = next.next() else { break };
            let (door, file) = (door.clone(), file.clone());
            let path = format!("{path}{}", query(kind, args.top, args.exclusive));
            under_way.spawn(async move { (index, send(&door, &path, &file, kind).await) });
        }
        match under_way.join_next().await {
            Some(Ok((index, reply))) => report.take(index, reply)?,
            Some(Err(error)) => return Err(Error::from(Fault::Call { url: path }).because(error)),
            None => return report.finish(),
        }
    }
}

fn kind(file: &Path) -> Result<Kind, Error> {
    let extension = file.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "png" => Ok(Kind::Picture("image/png")),
        "jpg" | "jpeg" => Ok(Kind::Picture("image/jpeg")),
        "json" => Ok(Kind::Request),
        _ => Err(Fault::Usage { reason: format!("file `{}` is no .png, .jpg, .jpeg or .json", file.display()) }.into()),
    }
}

/// What is asked for beside the body.
fn query(kind: Kind, top: u32, exclusive: bool) -> String {
    let classification = matches!(kind, Kind::Picture(_)).then(|| format!("classification={}", top.max(1)));
    let words: Vec<String> = classification.into_iter().chain(exclusive.then(|| "exclusive=true".to_owned())).collect();
    if words.is_empty() { String::new() } else { format!("?{}", words.join("&")) }
}

async fn send(door: &Door, path: &str, file: &Path, kind: Kind) -> Result<Reply, Error> {
    let content_type = match kind {
        Kind::Picture(content_type) => content_type,
        Kind::Request => "application/json",
    };
    let body = fs::read(file).map_err(|error| Error::from(Fault::File { doing: "read", path: file.display().to_string() }).because(error))?;
    let (body, header_length) = door.post(path, content_type, body.into()).await?;
    if kind == Kind::Request {
        return Ok(Reply::Json(String::from_utf8_lossy(&body).into_owned()));
    }
    let answer = Answer::parse(&body, header_length)?;
    let classes = answer.outputs.first().map(|output| classes(&output.tensor)).unwrap_or_default();
    Ok(Reply::Classes(classes))
}

/// Reads `score:index:label`, or `score:index` of a model without labels.
fn classes(tensor: &Tensor) -> Vec<Class> {
    let class = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let mut parts = text.splitn(3, ':');
        let probability = parts.next()?.parse().ok()?;
        let index = parts.next()?.to_owned();
        Some(Class { label: parts.next().map_or(index, str::to_owned), probability })
    };
    text_elements(&tensor.data).into_iter().filter_map(class).collect()
}

/// Prints replies in the order of the files, as soon as those before are there.
struct Report<'a> {
    screen: &'a mut Screen,
    files: &'a [PathBuf],
    waiting: BTreeMap<usize, Result<Reply, Error>>,
    printed: usize,
    width: usize,
    right: usize,
    judged: usize,
    failed: usize,
}

impl<'a> Report<'a> {
    fn new(screen: &'a mut Screen, files: &'a [PathBuf]) -> Result<Self, Error> {
        let widest = files.iter().map(|file| name(file).chars().count()).max().unwrap_or_default();
        let width = if screen.is_terminal() { widest.max("file".len()) } else { 0 };
        let report = Self { screen, files, waiting: BTreeMap::new(), printed: 0, width, right: 0, judged: 0, failed: 0 };
        if report.screen.is_terminal() && !report.screen.is_json() {
            report.screen.line(&format!("{:width$}  label  probability", "file"))?;
        }
        Ok(report)
    }

    fn take(&mut self, index: usize, reply: Result<Reply, Error>) -> Result<(), Error> {
        self.waiting.insert(index, reply);
        while let Some(reply) = self.waiting.remove(&self.printed) {
            let Some(file) = self.files.get(self.printed) else { break };
            self.printed += 1;
            match reply {
                Ok(reply) => self.print(file, &reply)?,
                Err(error) => {
                    self.failed += 1;
                    eprintln!("error: {}: {error}", name(file));
                }
            }
        }
        Ok(())
    }

    fn print(&mut self, file: &Path, reply: &Reply) -> Result<(), Error> {
        let name = name(file);
        let classes = match reply {
            Reply::Json(answer) if self.screen.is_json() => return self.screen.line(answer),
            Reply::Json(answer) => return self.screen.line(&format!("{name}  {answer}")),
            Reply::Classes(classes) => classes,
        };
        let expected = expected(file);
        let right = expected.as_deref().map(|expected| classes.first().is_some_and(|class| class.label == expected));
        self.judged += usize::from(right.is_some());
        self.right += usize::from(right == Some(true));
        if self.screen.is_json() {
            let classes_json: Vec<Value> = classes.iter().map(|class| serde_json::json!({ "label": class.label, "probability": class.probability })).collect();
            let mut object = serde_json::json!({ "file": name, "classes": classes_json });
            if let (Some(object), Some(first)) = (object.as_object_mut(), classes.first()) {
                object.insert("label".into(), Value::from(first.label.clone()));
                object.insert("probability".into(), Value::from(first.probability));
                object.extend(right.map(|right| ("right".to_owned(), Value::from(right))));
            }
            return self.screen.json(&object);
        }
        let said: Vec<String> = classes.iter().map(|class| format!("{:5}  {:.4}", class.label, class.probability)).collect();
        let width = self.width;
        self.screen.line(&format!("{name:width$}  {}", said.join("  ")))
    }

    fn finish(self) -> Result<(), Error> {
        if !self.screen.is_json() && self.judged > 0 && self.judged + self.failed == self.files.len() {
            self.screen.line(&summary(self.judged, self.right))?;
        }
        if self.failed > 0 {
            return Err(Fault::SomeFailed { failed: self.failed, all: self.files.len() }.into());
        }
        Ok(())
    }
}

fn summary(judged: usize, right: usize) -> String {
    let noun = if judged == 1 { "picture" } else { "pictures" };
    format!("{judged} {noun}, {right} right ({:.1} %)", right as f64 * 100.0 / judged.max(1) as f64)
}

fn name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

/// `3` for `017_3.png`: digits, an underscore, the label.
fn expected(file: &Path) -> Option<String> {
    let stem = file.file_stem()?.to_str()?;
    let (number, label) = stem.split_once('_')?;
    let counted = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    (counted && !label.is_empty()).then(|| label.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_label_in_a_file_name_is_found_and_other_names_have_none() {
        assert_eq!(expected(Path::new("samples/017_3.png")).as_deref(), Some("3"));
        assert_eq!(expected(Path::new("1_tabby_cat.jpg")).as_deref(), Some("tabby_cat"));
        for name in ["cat.png", "_3.png", "a_3.png", "17_.png"] {
            assert_eq!(expected(Path::new(name)), None, "{name}");
        }
    }

    #[test]
    fn the_query_says_what_the_body_does_not() {
        let picture = Kind::Picture("image/png");
        let cases = [(picture, false, "?classification=3"), (picture, true, "?classification=3&exclusive=true"), (Kind::Request, true, "?exclusive=true")];
        for (kind, exclusive, expected) in cases {
            assert_eq!(query(kind, 3, exclusive), expected);
        }
        assert_eq!(query(Kind::Request, 3, false), "");
    }

    #[test]
    fn the_summary_counts_with_one_decimal() {
        assert_eq!(summary(200, 197), "200 pictures, 197 right (98.5 %)");
        assert_eq!(summary(1, 1), "1 picture, 1 right (100.0 %)");
    }

    #[test]
    fn classes_keep_labels_with_colons() {
        let tensor = Tensor::from_texts("y", vec![3], &["0.5:3:three".into(), "0.25:7".into(), "0.1:2:a:b".into()]);
        let labels: Vec<(String, f64)> = classes(&tensor).into_iter().map(|class| (class.label, class.probability)).collect();
        assert_eq!(labels, [("three".to_owned(), 0.5), ("7".to_owned(), 0.25), ("a:b".to_owned(), 0.1)]);
    }
}

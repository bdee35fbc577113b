//! Paths with placeholders and globs. A path never leaves the connection's root.

use globset::{GlobBuilder, GlobMatcher};
use jiff::tz::TimeZone;
use object_store::path::Path;
use windrow_common::{error, window::Window};

use crate::{
    error::{Result, WorkerError},
    template::Template,
};

/// What makes a glob of a path.
const SPECIAL: [char; 4] = ['*', '?', '[', '{'];

/// A checked path parameter.
#[derive(Clone, Debug)]
pub(super) struct PathTemplate(Template);

/// What a path means once its placeholders are filled in.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// One object.
    Object(Path),
    /// The objects under a folder that match.
    Matching { folder: Option<Path>, matcher: GlobMatcher, text: String },
}

impl Target {
    /// For people.
    pub(super) fn text(&self) -> &str {
        match self {
            Self::Object(path) => path.as_ref(),
            Self::Matching { text, .. } => text,
        }
    }

    /// What every object's path begins with, or is.
    pub(super) fn literal(&self) -> &str {
        match self {
            Self::Object(path) => path.as_ref(),
            Self::Matching { text, .. } => text.find(SPECIAL).map_or(text, |special| &text[..special]),
        }
    }
}

impl PathTemplate {
    /// Reads a path; the error says what is wrong with it.
    pub(super) fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let template = Template::parse(text, zone)?;
        target(&template.sample()?)?;
        Ok(Self(template))
    }

    /// The path as it is written.
    pub(super) fn text(&self) -> &str {
        self.0.text()
    }

    /// Whether the window decides which objects are read.
    pub(super) fn by_window(&self) -> bool {
        self.0.by_window()
    }

    /// Whether the path names one file, whatever the window.
    pub(super) fn is_outright(&self) -> bool {
        !self.by_window() && matches!(target(self.text()), Ok(Target::Object(_)))
    }

    /// Whether the window's end decides which objects are read.
    pub(super) fn names_end(&self) -> bool {
        self.0.names_end()
    }

    /// The path of a marker: as it stands if it has folders, else in the folder of the path's objects.
    pub(super) fn marker(&self, marker: &str) -> Result<Self, String> {
        let text = match marker.contains('/') {
            true => marker.to_owned(),
            false => format!("{}{marker}", folder(self.text())),
        };
        let template = self.0.beside(&text)?;
        match target(&template.sample()?)? {
            Target::Object(_) => Ok(Self(template)),
            Target::Matching { .. } => Err(format!("{text:?} is no single file: write the marker's whole path")),
        }
    }

    /// What the path means in a window.
    pub(super) fn in_window(&self, window: &Window) -> Result<Target> {
        meant(&self.0.in_window(window, |text| text)?)
    }

    /// What the path means in any window: every placeholder matches anything.
    pub(super) fn in_any_window(&self) -> Result<Target> {
        meant(&self.0.in_any_window("*"))
    }
}

/// The text up to its last folder's end, placeholders whole.
fn folder(text: &str) -> &str {
    let mut within = 0_usize;
    let mut end = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => within += 1,
            '}' => within = within.saturating_sub(1),
            '/' if within == 0 => end = at + 1,
            _ => {}
        }
    }
    &text[..end]
}

fn meant(text: &str) -> Result<Target> {
    target(text).map_err(|message| WorkerError::never(error::BAD_VALUE, message))
}

/// What a filled-in path means; refuses what could leave the root.
fn target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Err("the path is empty".to_owned());
    }
    if text.contains('\0') || text.contains('\\') {
        return Err(format!("{text:?} holds a NUL or a backslash"));
    }
    if text.starts_with('/') {
        return Err(format!("{text:?} is absolute; paths are relative to the connection's root"));
    }
    if text.split('/').any(|part| matches!(part, ".." | "." | "")) {
        return Err(format!("{text:?} has a part that is empty, `.` or `..`"));
    }
    let Some(special) = text.find(SPECIAL) else {
        let path = Path::parse(text).map_err(|cause| cause.to_string())?;
        return Ok(Target::Object(path));
    };
    let glob = GlobBuilder::new(text).literal_separator(true).build().map_err(|cause| cause.to_string())?;
    let folder = text[..special].rsplit_once('/').map(|(folder, _)| Path::parse(folder));
    let folder = folder.transpose().map_err(|cause| cause.to_string())?;
    Ok(Target::Matching { folder, matcher: glob.compile_matcher(), text: text.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use jiff::Timestamp;
    use windrow_common::window::Axis;

    use super::*;

    fn parse(text: &str) -> Result<PathTemplate, String> {
        PathTemplate::parse(text, TimeZone::UTC)
    }

    fn window() -> Window {
        let micros = |text: &str| text.parse::<Timestamp>().unwrap().as_microsecond();
        Window::new(Axis::Time, micros("2024-03-09T23:00:00Z"), micros("2024-03-10T23:00:00Z")).unwrap()
    }

    #[test]
    fn placeholders_are_written_in_the_declared_zone() {
        let path = "landing/dt={window.start:%Y-%m-%d}/until-{window.end:%d}.csv";
        let in_zone = |zone: &str| {
            let template = PathTemplate::parse(path, TimeZone::get(zone).unwrap()).unwrap();
            assert!(template.by_window());
            match template.in_window(&window()).unwrap() {
                Target::Object(path) => path.to_string(),
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(in_zone("UTC"), "landing/dt=2024-03-09/until-10.csv");
        assert_eq!(in_zone("Europe/Paris"), "landing/dt=2024-03-10/until-11.csv");
    }

    #[test]
    fn a_glob_is_matched_below_its_literal_folder_and_not_across_folders() {
        let Target::Matching { folder, matcher, .. } = parse("in/{a,b}/*.csv").unwrap().in_any_window().unwrap() else {
            panic!("a glob")
        };
        assert_eq!(folder.unwrap().as_ref(), "in");
        assert!(matcher.is_match("in/a/x.csv") && matcher.is_match("in/b/y.csv"));
        assert!(!matcher.is_match("in/a/deep/x.csv") && !matcher.is_match("in/c/x.csv"));
    }

    #[test]
    fn unknown_placeholders_and_bad_formats_are_refused() {
        let bad = [
            "{date}/x.csv",
            "{window.start}/x.csv",
            "{window.middle:%Y}/x.csv",
            "{window.start:%Q%!}/x.csv",
            "{window.start:today}/x.csv",
            "{window.start:%Y/x.csv",
            "{env:HOME}/x.csv",
        ];
        for text in bad {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_path_cannot_leave_the_root() {
        for text in ["", "/etc/passwd", "../x.csv", "a/../../x.csv", "a//b.csv", "a/./b", "a\0b", "..\\x", "*/../x"] {
            assert!(parse(text).is_err(), "{text:?}");
        }
        assert!(parse("a/{window.start:..%Y}/../x").is_err());
    }

    #[test]
    fn a_marker_lies_beside_the_objects_or_where_it_says() {
        let marked = |path: &str, marker: &str| {
            let marker = parse(path).unwrap().marker(marker)?;
            Ok::<_, String>(marker.in_window(&window()).unwrap().text().to_owned())
        };
        assert_eq!(marked("dt={window.start:%Y-%m-%d}/*.json", "_SUCCESS").unwrap(), "dt=2024-03-09/_SUCCESS");
        assert_eq!(marked("{window.start:%Y/%m/%d}/a.csv", "done").unwrap(), "2024/03/09/done");
        assert_eq!(marked("all.csv", "all.done").unwrap(), "all.done");
        assert_eq!(marked("in/*.csv", "ok/{window.start:%d}.ok").unwrap(), "ok/09.ok");
        for (path, marker) in [("in/*/x.csv", "done"), ("in/x.csv", "*.ok"), ("in/x.csv", "../ok"), ("x.csv", "")] {
            assert!(marked(path, marker).is_err(), "{path} {marker}");
        }
    }

    #[test]
    fn a_full_load_cannot_fill_in_a_time() {
        let error = parse("{window.start:%Y}.csv").unwrap().in_window(&Window::version(1)).unwrap_err();
        assert_eq!(error.code(), error::CONTRADICTION);
    }
}

mod annotations;

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn tree(files: &[(&str, &str)]) -> SourceTree {
    SourceTree {
        files: files
            .iter()
            .map(|(path, content)| SourceFile {
                path: (*path).to_owned(),
                content: Bytes::copy_from_slice(content.as_bytes()),
            })
            .collect(),
    }
}

fn bundle(files: &[(&str, &str)]) -> Rendered {
    render(&tree(files)).unwrap_or_else(|e| panic!("{e}"))
}

fn problems(files: &[(&str, &str)]) -> Vec<String> {
    match render(&tree(files)) {
        Ok(rendered) => panic!("rendered {rendered:?}"),
        Err(e) => e.problems.iter().map(ToString::to_string).collect(),
    }
}

/// The one problem of one file.
fn problem(content: &str) -> String {
    let mut all = problems(&[("deploy/web.yaml", content)]);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

fn json_of(content: &str) -> String {
    let got = bundle(&[("a.yaml", content)]);
    assert_eq!(got.objects.len(), 1);
    String::from_utf8(got.objects[0].json.to_vec()).unwrap()
}

fn config_map(name: &str) -> String {
    format!("apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {name}\ndata:\n  k: v\n")
}

#[test]
fn one_manifest_becomes_one_canonical_object() {
    let manifest = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\ndata: {k: v}\n";
    assert_eq!(
        json_of(manifest),
        r#"{"apiVersion":"v1","data":{"k":"v"},"kind":"ConfigMap","metadata":{"name":"a"}}"#
    );
}

#[test]
fn line_ends_byte_order_marks_and_encodings_do_not_matter() {
    let plain = format!(
        "# first\n---\n{}---\n---\n# nothing\n...\n",
        config_map("a")
    );
    let want = bundle(&[("a.yaml", &plain)]);
    let utf16: Vec<u8> = [0xff, 0xfe]
        .into_iter()
        .chain(plain.encode_utf16().flat_map(u16::to_le_bytes))
        .collect();
    for bytes in [
        plain.replace('\n', "\r\n").into_bytes(),
        format!("\u{feff}{plain}").into_bytes(),
        format!("\u{feff}{plain}")
            .replace('\n', "\r\n")
            .into_bytes(),
        utf16,
    ] {
        let file = SourceFile {
            path: "a.yaml".into(),
            content: bytes.into(),
        };
        let got = render(&SourceTree { files: vec![file] }).unwrap();
        assert_eq!(got, want);
    }
}

#[test]
fn carriage_returns_do_not_get_into_block_texts() {
    let manifest = "apiVersion: v1\r\nkind: ConfigMap\r\nmetadata: {name: a}\r\ndata:\r\n  k: |\r\n    one\r\n    two\r\n";
    assert!(json_of(manifest).contains(r#""k":"one\ntwo\n""#));
}

#[test]
fn what_a_quoted_or_tagged_scalar_is_its_author_said() {
    let json = json_of(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nx: [yes, 'yes', \"1\", !!str 1, 0644, '0644', \
         !!int \"3\", !!float 2, !!binary aGk=, !local 5, 12345678901234567890, 1.0, ~]\n",
    );
    assert!(
        json.contains(
            r#""x":[true,"yes","1","1",420,"0644",3,2,"hi","5",12345678901234567890,1,null]"#
        ),
        "{json}"
    );
}

#[test]
fn anchors_aliases_and_merge_keys_are_copies() {
    let json = json_of(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n\
         base: &base {image: x, port: 1}\nother: &other {port: 2, tls: true}\n\
         one: {<<: *base, port: 9}\ntwo: {port: 9, <<: [*other, *base]}\nthree: *base\nname: &n web\nfour: {*n : 1}\n",
    );
    for part in [
        r#""one":{"image":"x","port":9}"#,
        r#""two":{"image":"x","port":9,"tls":true}"#,
        r#""three":{"image":"x","port":1}"#,
        r#""four":{"web":1}"#,
    ] {
        assert!(json.contains(part), "{json}");
    }
}

#[test]
fn lists_are_unfolded_and_their_items_found_by_line() {
    let list = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n\
                - apiVersion: v1\n  kind: ConfigMapList\n  items:\n  - metadata: {name: b}\n";
    let apart = [
        ("a.yaml", config_map("a").replace("data:\n  k: v\n", "")),
        ("b.yaml", config_map("b").replace("data:\n  k: v\n", "")),
    ];
    let apart: Vec<_> = apart.iter().map(|(p, c)| (*p, c.as_str())).collect();
    assert_eq!(bundle(&[("list.yaml", list)]), bundle(&apart));
    let broken = "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: ConfigMap\n  metadata: {name: a}\n- kind: ConfigMap\n";
    assert_eq!(
        problem(broken),
        "deploy/web.yaml:7: items[1]: apiVersion is missing"
    );
}

#[test]
fn a_kind_whose_name_ends_in_list_is_no_list_without_items() {
    let got = bundle(&[(
        "a.yaml",
        "apiVersion: x.io/v1\nkind: AllowList\nmetadata: {name: a}\nspec: {items: [1]}\n",
    )]);
    assert_eq!(got.objects[0].entry.key.kind, "AllowList");
}

#[test]
fn only_manifests_are_read() {
    for path in [
        "a.yaml",
        "b/c.yml",
        "b/d.json",
        "Chart.yaml",
        "x/Kustomization",
    ] {
        assert!(wants(path), "{path}");
    }
    for path in [
        "a.txt",
        "README.md",
        ".a.yaml",
        ".github/a.yaml",
        "x/.y/z.yaml",
        "lockstep.yaml",
        "yaml",
    ] {
        assert!(!wants(path), "{path}");
    }
}

#[test]
fn what_the_server_sets_is_dropped() {
    let exported = "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\n  uid: x\n  resourceVersion: \"5\"\n  \
                    creationTimestamp: null\n  generation: 3\n  selfLink: /x\n  managedFields: []\n  namespace: \"\"\n\
                    data:\n  k: v\nstatus: {x: 1}\n";
    assert_eq!(json_of(exported), json_of(&config_map("a")));
}

#[test]
fn json_files_hold_one_or_more_objects() {
    let text = "\u{feff}{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\",\n\t\"metadata\": {\"name\": \"a\"}, \"data\": {\"k\": \"v\"}}\n\
                {\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"b\"}, \"data\": {\"k\": \"v\"}}";
    let yaml = format!("{}---\n{}", config_map("b"), config_map("a"));
    assert_eq!(bundle(&[("a.json", text)]), bundle(&[("a.yaml", &yaml)]));
    let broken = text.replace("\"b\"}", "\"b\", \"name\": \"c\"}");
    assert_eq!(
        problems(&[("a.json", &broken)]),
        ["a.json:3: not valid JSON: the key \"name\" stands here twice"]
    );
    assert!(
        problems(&[("a.json", "{\"a\": \n [1,}")])[0].starts_with("a.json:2: not valid JSON: ")
    );
}

#[test]
fn broken_manifests_are_named_with_file_and_line() {
    let good = config_map("a");
    for (content, want) in [
        (
            "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: x\n labels: {}\n",
            "deploy/web.yaml:5: not valid YAML: ",
        ),
        ("a: b\n\tc: d\n", "deploy/web.yaml:2: not valid YAML: "),
        ("a:\n\tc: d\n", "deploy/web.yaml:2: not valid YAML: "),
        ("a: b: c\n", "deploy/web.yaml:1: not valid YAML: "),
        ("x:\n  a: 1\n  b 2\n  c: 3\n", "deploy/web.yaml:"),
        (
            "x:\n    a: 1\n  b: 2\n",
            "deploy/web.yaml:3: not valid YAML: ",
        ),
        (
            "- a\n- b\n",
            "deploy/web.yaml:1: expected a Kubernetes object",
        ),
        ("hello\n", "deploy/web.yaml:1: expected a Kubernetes object"),
        ("{}\n", "deploy/web.yaml:1: apiVersion is missing"),
        (
            "\n\napiVersion: v1\nmetadata: {name: a}\n",
            "deploy/web.yaml:3: kind is missing",
        ),
        (
            "apiVersion: v1\nkind: Pod\n",
            "deploy/web.yaml:1: Pod: metadata.name is missing",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {generateName: a-}\n",
            "deploy/web.yaml:1: Pod: metadata.generateName would make a new object with every apply",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: 12}\n",
            "deploy/web.yaml:1: Pod: metadata.name is not a text; quote it",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: ../x}\n",
            "deploy/web.yaml:1: Pod: metadata.name \"../x\" may not contain",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: '..'}\n",
            "deploy/web.yaml:1: Pod: metadata.name \"..\" may not be",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, namespace: A_b}\n",
            "deploy/web.yaml:1: Pod a: metadata.namespace: ",
        ),
        (
            "apiVersion: v1\nkind: Pod\nmetadata: {name: a, labels: {x: 1}}\n",
            "deploy/web.yaml:1: Pod a: metadata.labels[\"x\"] is not a text",
        ),
        (
            "apiVersion: a/b/c\nkind: Pod\nmetadata: {name: a}\n",
            "deploy/web.yaml:1: apiVersion \"a/b/c\" is neither",
        ),
        (
            "apiVersion: v1\nkind: Pod/x\nmetadata: {name: a}\n",
            "deploy/web.yaml:1: kind \"Pod/x\" is not",
        ),
        (
            "apiVersion: v1\nkind: Pod\nkind: Pod\n",
            "deploy/web.yaml:3: the key \"kind\" stands twice",
        ),
        (
            "apiVersion: v1\nx: *nowhere\n",
            "deploy/web.yaml:2: not valid YAML: ",
        ),
        (
            "a: &a [*a]\n",
            "deploy/web.yaml:1: an alias inside of what it stands for",
        ),
        ("? [a]\n: b\n", "deploy/web.yaml:1: a key must be a text"),
        (
            "~: b\n",
            "deploy/web.yaml:1: a key must be a text; quote it",
        ),
        (
            "a: .inf\n",
            "deploy/web.yaml:1: a number that JSON cannot hold",
        ),
        (
            "a: !!int hunter2\n",
            "deploy/web.yaml:1: the value is not what its tag !!int says",
        ),
        (
            "<<: 1\n",
            "deploy/web.yaml:1: `<<` takes a map or a list of maps",
        ),
    ] {
        let got = problem(content);
        assert!(got.starts_with(want), "{got:?}, wanted {want:?}");
        assert!(!got.contains("hunter2"), "{got}");
        if content.starts_with("version ") {
            continue;
        }
        // Other documents of the file do not hide it.
        let all = problems(&[("deploy/web.yaml", &format!("{good}---\n{content}"))]);
        assert_eq!(all.len(), 1, "{all:?}");
    }
}

#[test]
fn several_problems_are_reported_together_and_no_more_than_a_person_mends() {
    let content = format!("kind: A\n---\na: [\n---\n{}---\nkind: B\n", config_map("a"));
    assert_eq!(problems(&[("a.yaml", &content)]).len(), 3);
    let many = "kind: A\n---\n".repeat(1000);
    let error = render(&tree(&[("a.yaml", &many)])).unwrap_err();
    assert_eq!((error.problems.len(), error.more), (10, true));
    assert!(error.to_string().ends_with("; and more"));
}

#[test]
fn an_object_that_stands_twice_is_refused_with_both_places() {
    let twice = format!("{}---\n{}", config_map("b"), config_map("a"));
    assert_eq!(
        problems(&[("x.yaml", &config_map("a")), ("b.yaml", &twice)]),
        ["x.yaml:1: v1 ConfigMap a stands here a second time, first at b.yaml:8"]
    );
    let ingress =
        |version| format!("apiVersion: apps/{version}\nkind: Deployment\nmetadata: {{name: a}}\n");
    let versions = format!("{}---\n{}", ingress("v1"), ingress("v1beta1"));
    assert!(problem(&versions).contains("a second time, first at deploy/web.yaml:1"));
    let namespaces = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a, namespace: x}\n";
    assert_eq!(
        bundle(&[("a.yaml", namespaces), ("b.yaml", &config_map("a"))])
            .objects
            .len(),
        2
    );
}

#[test]
fn problems_are_named_from_the_root_of_the_repository() {
    let twice = format!("{}---\n{}", config_map("a"), config_map("a"));
    let error = render(&tree(&[("b.yaml", &twice)])).unwrap_err();
    assert_eq!(
        error.beneath("./deploy//shop/").to_string(),
        "deploy/shop/b.yaml:8: v1 ConfigMap a stands here a second time, first at deploy/shop/b.yaml:1"
    );
    let error = render(&tree(&[])).unwrap_err();
    assert!(
        error
            .clone()
            .beneath(".")
            .to_string()
            .starts_with("the folder holds")
    );
    assert!(
        error
            .beneath("deploy")
            .to_string()
            .starts_with("deploy: the folder holds")
    );
}

#[test]
fn a_folder_without_objects_is_a_problem() {
    for files in [
        &[][..],
        &[("README.md", "hello")],
        &[("a.yaml", "# nothing\n---\n---\n")],
        &[("a.yaml", "apiVersion: v1\nkind: List\nitems: []\n")],
        &[(".hidden.yaml", "kind: x")],
    ] {
        let all = problems(files);
        assert!(
            all[0].starts_with("the folder holds no Kubernetes objects"),
            "{all:?}"
        );
    }
}

#[test]
fn folders_of_other_tools_are_called_what_they_are() {
    let manifest = config_map("a");
    let kustomize = [
        ("a.yaml", manifest.as_str()),
        ("kustomization.yaml", "resources: [a.yaml]\n"),
    ];
    assert!(problems(&kustomize)[0].starts_with("kustomization.yaml: this is a Kustomize folder"));
    let chart = [
        ("web/Chart.yaml", "apiVersion: v2\nname: web\n"),
        ("web/templates/a.yaml", "{{ if x }}\n"),
    ];
    let got = problems(&chart);
    assert_eq!(got.len(), 1, "{got:?}");
    assert!(got[0].starts_with("web/Chart.yaml: this is a Helm chart"));
}

#[test]
fn objects_are_bounded_but_900_kilobytes_are_fine() {
    let sized = |size: usize| format!("{}  big: {}\n", config_map("a"), "x".repeat(size));
    assert_eq!(bundle(&[("a.yaml", &sized(900_000))]).objects.len(), 1);
    assert!(problem(&sized(1_600_000)).contains("Kubernetes takes 1572864 at most"));
}

#[test]
fn aliases_cannot_blow_up_a_document() {
    let mut bomb = String::from("a: &a [x, x, x, x, x, x, x, x, x]\n");
    for (this, last) in ('b'..='j').zip('a'..) {
        let aliases = vec![format!("*{last}"); 9].join(", ");
        writeln!(bomb, "{this}: &{this} [{aliases}]").unwrap();
    }
    assert!(problem(&bomb).contains("the aliases of this document expand to more than"));
    let mut deep = String::from("a0: &a0 [x]\n");
    for i in 1..200 {
        writeln!(deep, "a{i}: &a{i} [[[*a{}]]]", i - 1).unwrap();
    }
    assert!(problem(&deep).contains("lists and maps within each other"));
    let brackets = format!("a: {}", "[".repeat(100_000));
    assert!(problem(&brackets).starts_with("deploy/web.yaml:1: "));
}

#[test]
fn ten_thousand_documents_in_a_file_are_ten_thousand_objects() {
    let mut file = String::new();
    for i in 0..10_000 {
        write!(file, "---\n{}", config_map(&format!("c-{i}"))).unwrap();
    }
    let got = bundle(&[("all.yaml", &file)]);
    assert_eq!(got.objects.len(), 10_000);
    assert!(got.objects.is_sorted_by(|a, b| a.entry.key < b.entry.key));
    file.push_str("---\n- broken\n");
    let line = 10_000 * 7 + 2;
    assert!(problem(&file).starts_with(&format!("deploy/web.yaml:{line}: expected")));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// The same objects are the same Bundle, whatever files they stand in.
    #[test]
    fn order_and_files_do_not_change_the_bundle(
        names in prop::collection::btree_set("c-[a-z]{1,8}", 1..20),
        files in prop::collection::vec(0usize..5, 20),
        crlf in any::<bool>(),
    ) {
        let one: String = names.iter().map(|n| format!("---\n{}", config_map(n))).collect();
        let want = bundle(&[("one.yaml", &one)]);
        let mut contents = vec![String::new(); 5];
        for (name, file) in names.iter().rev().zip(&files) {
            writeln!(contents[*file], "{}---", config_map(name)).unwrap();
        }
        let mut spread: Vec<_> = contents
            .iter()
            .enumerate()
            .map(|(i, c)| SourceFile {
                path: format!("d{i}/f.yml"),
                content: if crlf { c.replace('\n', "\r\n") } else { c.clone() }.into(),
            })
            .collect();
        spread.reverse();
        prop_assert_eq!(render(&SourceTree { files: spread }).unwrap(), want);
    }

    #[test]
    fn whatever_bytes_a_file_has_render_answers(
        bytes in prop::collection::vec(any::<u8>(), 0..300),
        json in any::<bool>(),
    ) {
        let path = if json { "a.json" } else { "a.yaml" }.to_owned();
        let _ = render(&SourceTree { files: vec![SourceFile { path, content: bytes.into() }] });
    }

    #[test]
    fn whatever_yaml_like_text_a_file_has_render_answers(
        parts in prop::collection::vec(
            prop::sample::select(vec![
                "apiVersion: v1\n", "kind: Pod\n", "kind: List\n", "metadata:\n", "  name: a\n", "items:\n", "- ", "  ",
                "---\n", "...\n", "&a ", "*a", "*a : ", "<<: ", "{", "}", "[", "]", ", ", ": ", "? ", "| ", ">-\n", "!!int ", "! ",
                "'", "\"", "\\u", "#", "\n", "\r\n", "\t", "%YAML 1.1\n", "~", "x", "1", "\u{feff}", "é",
            ]),
            0..40,
        ),
    ) {
        let text = parts.concat();
        let once = render(&tree(&[("a.yaml", &text)]));
        prop_assert_eq!(&once, &render(&tree(&[("a.yaml", &text)])));
        if let Err(e) = once {
            for problem in e.problems {
                prop_assert!(problem.place.line <= text.lines().count() + 1);
            }
        }
    }
}

//! What is said about the content of a node's files: codes, severities and places.
//!
//! A finding is data. `Err` is for I/O and broken promises; whatever an operator wrote into a file ends here. The
//! table of all codes is in this module, and a code that is not in the table does not exist.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::printable::printable;
use crate::question::Question;
use crate::work;

/// How much a finding weighs.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// For the record.
    Note,
    /// Someone should look, nothing is in the way.
    Warning,
    /// Nothing is written until it is decided or fixed.
    Error,
}

/// What an operator can do about an error besides editing the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the file has to be fixed.
    HandEdit,
    /// `--allow CODE`, which does what the text says.
    Allow(&'static str),
    /// Another option, which the text names.
    Option(&'static str),
}

/// One row of the table of findings.
#[derive(Debug)]
pub struct Code {
    /// The word that names it, in messages and for `--allow`.
    pub name: &'static str,
    /// Its weight before any decision.
    pub severity: Severity,
    /// What it means, in one line.
    pub meaning: &'static str,
    /// What is behind it, for someone who has to decide: what containerd does and since when, and what to do.
    pub explanation: &'static str,
    /// How an error is decided.
    pub decision: Decision,
    /// Whether it is said of the value or the file that it is about, and not again of each containerd that does not
    /// start because of it.
    pub said_once: bool,
    /// Whether no migration removes the reason: there is no plan for a containerd that does not start because of it.
    pub stays: bool,
}

impl Code {
    /// What a row does not say.
    const DEFAULT: Self = Self {
        name: "",
        severity: Severity::Note,
        meaning: "",
        explanation: "",
        decision: Decision::HandEdit,
        said_once: false,
        stays: false,
    };

    /// A row with nothing but a name: for one that a report of a later version has.
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            ..Self::DEFAULT
        }
    }
}

impl PartialEq for Code {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Code {}

/// Declares the codes and the table of them all in one place. In braces are the columns that differ from
/// [`Code::DEFAULT`].
macro_rules! codes {
    ($(
        $constant:ident $name:literal $({ $($column:ident: $value:literal),* })? $severity:ident $decision:expr,
        $meaning:literal, $explanation:literal;
    )*) => {
        $(
            #[doc = $meaning]
            #[allow(clippy::needless_update, reason = "a row may have every column")]
            pub static $constant: Code = Code {
                name: $name,
                severity: Severity::$severity,
                meaning: $meaning,
                explanation: $explanation,
                decision: $decision,
                $($($column: $value,)*)?
                ..Code::DEFAULT
            };
        )*
        /// Every code, sorted by name.
        pub static ALL: &[&Code] = &[$(&$constant),*];
    };
}

use Decision::{Allow, HandEdit, Option as Choose};

codes! {
    BUILT_IN_CONFIG_PATH "built-in-config-path" Warning HandEdit,
        "without config_path, newer containerd reads /etc/containerd/certs.d by itself, and the files there take \
         effect",
        "containerd 2.2.0 and 2.2.1 have a built-in config_path, and 2.2.2 and later have it where no mirrors are \
         configured: /etc/containerd/certs.d and /etc/docker/certs.d. The transfer service reads the two as one name \
         and finds nothing; CRI's own puller, which any entry of `configs` or `auths` and some other settings keep in \
         use, reads the hosts files in them although nobody has set config_path. Whether those files are meant cannot \
         be seen. Look at them before the upgrade: delete what is not meant, or set config_path yourself.";
    BYTE_ORDER_MARK "byte-order-mark" Error
        Allow("migrates and keeps the mark; containerd 2.x will not start with it"),
        "the file begins with a byte order mark, with which containerd 2.x does not start",
        "containerd 1.x skips a byte order mark at the start of config.toml; the TOML reader of every 2.x refuses it, \
         and the daemon does not start. The program does not change bytes outside of the registry settings, so it does \
         not remove the mark. Remove it before the upgrade, or accept the finding if the node stays on 1.x for now.";
    CA_WITHOUT_CERTIFICATE "ca-without-certificate" Warning HandEdit,
        "a CA file that holds no certificate is left out: ignored today, in a hosts file it would fail every pull",
        "containerd 1.x ignores a ca_file in which it finds no certificate, and pulls work with the system's \
         certificates; 2.x does not read ca_file at all. In a hosts.toml the same file fails every pull of the \
         registry, on every version. It was read completely and holds no certificate by Go's rules, so leaving it out \
         keeps the pulls as they are. If the registry needs a CA, put its certificate into the file in PEM form and \
         plan again.";
    CERTIFICATE_DIRECTORY "certificate-directory" Error
        Choose("--existing keep: the directory decides; --existing replace: the settings decide"),
        "a directory without a hosts.toml in the certs directory would change pulls",
        "A directory below config_path takes effect as soon as it exists: without a hosts.toml containerd takes the \
         *.crt, *.cert and *.key files in it and looks no further, not even into _default. So an empty directory, or \
         one with certificates, changes pulls once config_path is set. The program cannot know whether that is meant. \
         With --existing keep the directory decides, with --existing replace a hosts.toml with what the settings give \
         is written into it; --existing HOST=keep answers for one registry.";
    CERTIFICATE_FILE_MISSING "certificate-file-missing" Warning HandEdit,
        "a certificate or key file does not exist or cannot be read; the setting is carried as written",
        "A file that ca_file, cert_file or key_file names does not exist, or cannot be read. containerd 1.x fails \
         every pull through that registry without it, with the old settings as with the new ones; 2.x does not read \
         the old settings, so there pulls that work today would fail. The path is carried as it is written, since a \
         tree that was copied from a node may lack the file. Make sure that it exists on the node before you apply.";
    CERTIFICATE_WITHOUT_KEY "certificate-without-key" Error
        Allow("leaves the lone file out; pulls that fail today then work without a client certificate"),
        "a client certificate without its key, or a key alone, fails every pull through this host on containerd 1.x",
        "containerd 1.x fails every pull through a registry that has cert_file without key_file, or the reverse; 2.x \
         reads neither. A hosts.toml cannot have half of a pair, and only you know whether the registry asks for a \
         client certificate. Set the missing file; or accept that the lone one is left out, after which pulls that \
         fail today work without a client certificate.";
    CERTS_DIR_CONTRADICTS_CONFIG_PATH "certs-dir-contradicts-config-path" Error
        Choose("leave --certs-dir out, or name the directory that config_path names"),
        "--certs-dir names another directory than config_path",
        "The configuration already says in config_path where the hosts files are, and --certs-dir says something \
         else. Writing files where containerd does not look would lose them. Leave --certs-dir out, or change \
         config_path first.";
    CHANGED_SINCE_APPLY "changed-since-apply" Error
        Allow("lets rollback and recovery overwrite what someone changed since the run; the journal keeps it"),
        "a file is neither what a run wrote nor what was there before it",
        "`rollback` and recovery only touch a file whose bytes are those from before the run or those that the run \
         wrote. This one is neither: someone has edited it since, and only they know whether the edit is still \
         needed. Both versions are shown. Save the edit elsewhere, or accept the finding, which gives it up; the \
         journal keeps it.";
    COMMENT_DROPPED "comment-dropped" Note HandEdit,
        "a comment is removed with its entry and is in no hosts file",
        "No hosts file is written for the entry that the comment belongs to, or the hosts file exists and more users can \
         read it than the file with the comment. The old file stays in the journal of the run. Write the comment down \
         elsewhere if it is needed.";
    CREDENTIALS_SENT "credentials-sent" Warning HandEdit,
        "credentials that the target has and the installed containerd does not have, with --inert carry",
        "Credentials are in a section that the installed containerd does not read, and the target reads. Credentials stay \
         where they are in the files, whatever is migrated. After the upgrade containerd sends them to these hosts when \
         they ask for a login. Remove them first if they are not meant.";
    CRI_DISABLED "cri-disabled" { said_once: true } Warning HandEdit,
        "CRI is in disabled_plugins, so that the registry settings have no effect",
        "CRI is in `disabled_plugins` of one of the files, as in the config.toml that Docker's packages ship, so that \
         the kubelet cannot use this containerd and no pull uses these registry settings. They are migrated all the \
         same. Remove the name from the list if this node is to run pods.";
    DEAD_CONFIG_KEY "dead-config-key" Warning HandEdit,
        "TLS settings under a name that no endpoint has; they have no effect and are removed",
        "containerd 1.x looks TLS settings up by the host of the endpoint that it asks, port and all; 2.x does not \
         read them at all. No endpoint has this host: a name with a scheme or a path and `*` never match, and \
         `docker.io` only where an endpoint names it, since its registry's own host is registry-1.docker.io. The \
         entry has no effect today and is removed. If another name was meant, write that before you migrate, and see \
         what changes.";
    DEAD_CREDENTIALS "dead-credentials" Warning HandEdit,
        "credentials that containerd uses neither before nor after the migration; they stay",
        "containerd 1.x looks credentials up by the endpoint's host and 2.x by the host that answers 401, port and \
         all: those of Docker Hub belong under registry-1.docker.io. These are under a name that no host has, or one \
         level too high, or below a name in `auths` that containerd reads as something else. They are used neither \
         before nor after the migration, and stay as they are: the program never moves a credential, since containerd \
         would begin to send it. Remove them, or write them under the right name yourself.";
    DEAD_MIRROR_KEY "dead-mirror-key" Warning HandEdit,
        "a mirror under a name that no image has; it has no effect and is removed",
        "On every version a mirror's name must be the host of an image's name, with its port and nothing else; only \
         `*` means all others. Names with a scheme or a path, `index.docker.io`, or names cut apart for want of quotes \
         match no image. The entry has no effect today and is removed, because pulls would change if it took effect. \
         The message says what was probably meant: write that before you migrate if you want it.";
    DISCARDED_HOSTS_FILE "discarded-hosts-file" Warning HandEdit,
        "a hosts file that containerd discards, so that it has no effect",
        "containerd ignores a hosts.toml that it cannot read, with one line in its log, and pulls from the registry \
         itself. What it cannot read depends on the version: a file without a host table up to 1.7.31, the capability \
         `referrers` before 2.2, a byte order mark on 2.x, and more. Sometimes only a part is lost: a `server` below \
         the first host table on every version, and on 2.x hosts without a table header of their own. The message \
         names the versions. The file stays as it is, since pulls change when it is fixed; fix it if it is meant to \
         take effect.";
    EXISTING_HOSTS_FILE "existing-hosts-file" Error
        Choose("--existing keep: the file decides; --existing replace: the settings decide"),
        "a hosts file that exists, and has no effect today, would change pulls",
        "A hosts.toml exists for a registry for which the settings give other pulls. While config_path is not set, or \
         CRI does not load, the file has no effect; after the migration it would. The program cannot know which of the \
         two is meant; the message shows the line that makes the difference. --existing keep lets the file decide and \
         shows the changed pulls; --existing replace writes what the settings give over it, and the old bytes stay in \
         the journal; --existing HOST=keep answers for one registry. Where config_path is not set yet, --certs-dir \
         writes the hosts files to another directory. A file that takes effect today decides without a question.";
    FILE_CANNOT_BE_REPLACED "file-cannot-be-replaced" Error HandEdit,
        "a file that the plan writes is a mount point, protected, on a read-only file system, or its name is too long",
        "The program replaces a file in one step: it writes a new file beside the old one and renames it. This is not \
         possible if the file is a mount point (a file that is bind-mounted into a container, for example), if the file \
         or its directory has the attribute `i` (immutable) or `a` (append-only), if the directory is mounted \
         read-only, if a name is longer than 255 bytes, or if a directory has the name of one of the program's temporary \
         files. The message says which. Nothing is written until it is resolved: run the program where the file is not a \
         mount point and can be written, remove the attribute with `chattr` for the time of the migration, or correct \
         the name. A tree that is read-only from its root on can be planned: `apply` refuses it.";
    GENERATED_FILE "generated-file" Warning HandEdit,
        "something else writes this file: if it renders mirrors again, CRI fails at its next restart",
        "The head of the file or its path says that another program writes it. If that program renders mirrors again \
         beside config_path, CRI does not load at the next restart of containerd and the node becomes NotReady. Change \
         what is rendered at its source, too.";
    GO_TEMPLATE "go-template" Error HandEdit,
        "the file is a template, not the configuration that is made of it",
        "The file has Go template marks (`{{`), so it is what a configuration is made from and not the configuration \
         itself. Run the program on the file that containerd reads, and change the template by hand.";
    IMPORT_MISSING "import-missing" { stays: true } Error
        Allow("plans as if the file were empty; containerd does not start without it"),
        "an imported file does not exist, so that containerd does not start",
        "A file that `imports` names does not exist, or a link that a pattern matches leads nowhere, or Go does not \
         accept the pattern. No containerd starts like that, so on a running node this is a copy that lacks a file, or \
         a change since the daemon was started. The file may have CRI settings, so nothing is planned without it. \
         Restore it, or remove its name from `imports`; or accept the finding, which plans as if the file were empty.";
    INERT_SECTION "inert-section" Warning HandEdit,
        "registry settings that take effect neither on --from nor on a target",
        "The CRI plugin's table of this name is read neither by --from nor by a target: the name does not fit the \
         file's version, or another table takes its place. Or it has TLS settings alone, and is read by 2.x only, which \
         ignores those. The settings have no effect today and none after the upgrade. Remove them, or move them to \
         where they take effect.";
    INTERMEDIATE_VERSION "intermediate-version" Warning HandEdit,
        "a release between --from and the newest target, but none of the targets, pulls differently",
        "`plan` verifies the planned files for --from and for every target, and `check` compares the files as they are on \
         them. The other known releases up to the newest target are looked at, too: older patches of the same lines, and \
         the lines that an explicit --to skips. The ones named pull differently; the message says in what, and which later \
         release is the first that does not. It matters only if a node runs one of them: upgrade past them.";
    INVALID_PLUGIN_ID "invalid-plugin-id" { stays: true } Error HandEdit,
        "a plugin name that containerd 1.x does not accept in a version-2 file: it does not start",
        "In a file of version 2 containerd 1.x wants full names of plugins, such as io.containerd.grpc.v1.cri, and \
         does not start with any other: `[plugins.cri]`, or a name with dots that is not in quotes, which TOML takes \
         apart. 2.x ignores such tables, but wants names with a dot in disabled_plugins and required_plugins. Fix the \
         name, or remove it.";
    INVALID_TOML "invalid-toml" Error HandEdit,
        "the file is not valid TOML",
        "The file cannot be parsed as TOML, so nothing can be planned. containerd 1.x reads some texts that are not \
         valid TOML, such as a control character in a comment or a table that is defined twice in different quotes; 2.x \
         refuses them and does not start. No line of the file is shown, since the program cannot know what in it is \
         secret. Fix what the message says, and plan again.";
    IPV6_ENDPOINT_NOT_LAST "ipv6-endpoint-not-last" Error
        Allow("writes the table; containerd 1.x then ignores the whole hosts file"),
        "containerd 1.x cannot read a hosts file with an IPv6 address in a table name",
        "containerd 1.x cannot read a quoted table name with a bracket in it, so a [host.\"http://[fd00::1]:5000\"] \
         makes it discard the whole hosts.toml; 2.x reads it. Only the last endpoint is safe, because it is a value \
         and not a name. Accept the finding if the node does not go back to 1.x, or give the registry a name.";
    IPV6_WITHOUT_BRACKETS "ipv6-without-brackets" Error HandEdit,
        "an endpoint's IPv6 address is not in brackets; containerd 2.3 and newer cannot parse it",
        "Go parses `http://::1:5000` in the modules that containerd up to 2.2 is built from, and refuses it in those of \
         2.3 and newer, where every pull of the registry fails. A hosts file with that URL is discarded there. Write \
         the address in brackets, as in `http://[::1]:5000`, in the endpoint and in the names of its TLS settings and \
         credentials.";
    KEY_CASE "key-case" Error HandEdit,
        "a key that one containerd reads and another does not, because of its capitals or escapes",
        "The TOML reader of containerd 1.x takes a key as it is documented, or all in capitals, and takes escapes in a \
         quoted table name literally; that of 2.x does not look at capitals and decodes escapes. So this name means \
         something to one and not to the other. Write it in lower case and without escapes, once, if it is meant, or \
         remove it.";
    LINKED_HOSTS_FILE "linked-hosts-file" Error HandEdit,
        "several registries share one hosts file through a link, but need different ones",
        "Two names in the certs directory lead to one hosts.toml through a link, but the registries need different \
         ones. Writing the file for one would change the other. Replace the links by directories of their own.";
    MIRRORS_BESIDE_CONFIG_PATH "mirrors-beside-config-path" Warning HandEdit,
        "with mirrors and config_path both set CRI does not load; the mirrors are carried",
        "`mirrors` and `config_path` exclude each other: CRI does not load, on any version, and the node is NotReady. \
         2.2.0 and 2.2.1 have a config_path built in, so there mirrors alone do it. The mirrors are carried into hosts \
         files, which ends the conflict; registries that only the existing hosts files name keep them.";
    MISPLACED_HOSTS_FILE "misplaced-hosts-file" Warning HandEdit,
        "a hosts file under a name or in a directory where containerd does not look; it is kept",
        "For a registry containerd reads exactly one file: CERTS/REGISTRY/hosts.toml, where REGISTRY is the host of the \
         image's name with its port, or CERTS/_default/hosts.toml where there is no directory of that name. It never \
         looks for a repository, as in docker.io/library, for host.toml or hosts.yaml, or for a file beside the \
         directories, and says nothing about them. The message shows the path that it reads. The program moves \
         nothing in the certs directory, since that would change pulls.";
    MISPLACED_SETTING "misplaced-setting" Warning HandEdit,
        "a registry setting in a table where no containerd reads it; it is kept",
        "No containerd from --from to --to reads this key where it is: config_path or imports below a table such as \
         [ttrpc], or certificates, credentials or Docker's insecure-registries directly in `registry`. It has no effect \
         before the migration and none after it. The message shows the lines that containerd reads. Write them if the \
         setting is meant, plan again, and look at the pulls that change.";
    MISSPELT_TABLE "misspelt-table" Warning HandEdit,
        "a table with registry settings that no containerd reads under this name; it is kept",
        "A table has registry settings, but no containerd from --from to --to reads it under this name: `[plugin.` \
         without its s, `mirror` for `mirrors`, `registery`, a plugin's name with letters missing, a name with dots that is \
         not in quotes, tls and the host swapped, or mirrors beside `registry` instead of in it. It has no effect before \
         the migration and none after it. The message shows the header that containerd reads. Write it if the settings \
         are meant, plan again, and look at the pulls that change.";
    MIXED_VERSIONS "mixed-versions" { stays: true } Error
        Allow("accepts what the containerd versions named make of the files"),
        "imported files of another version than the main file, which containerd versions read differently",
        "The files are not all of one version, and containerd versions make different things of that. 1.x uses the \
         version of the last file for all of them, and does not start with 3 or 4 since 1.6.32 and 1.7.17; 2.0 to 2.2 \
         drop version-2 sections below a version-3 drop-in; 2.3.0 to 2.3.4 do not start with a drop-in newer than \
         config.toml. Which of them is meant cannot be seen. Give every file the same version, or accept the finding \
         if the versions named never run here. Registry settings that only some of them read are removed with \
         --inert drop, and take effect on every release with --inert carry.";
    NO_USABLE_ENDPOINT "no-usable-endpoint" Error
        Allow("leaves the unusable endpoints out, so that the registry itself is asked"),
        "no host is left for this name: every pull fails today",
        "No endpoint of this mirror can be asked and the registry itself is not asked either, so every pull fails \
         today. Fix the endpoints. Accepting the finding leaves them out, after which the registry itself is asked.";
    NOT_A_PATH "not-a-path" Error HandEdit,
        "a path in the registry settings that does not look like one, so that it is masked",
        "Reports mask a relative path without the ending of a certificate, a key or a directory, and a path that looks \
         like a password or a token: it may be a secret in the wrong place. A hosts file that names it would show it, so \
         nothing is planned. Write the absolute path, or move the secret to where it belongs.";
    NOT_UTF8 "not-utf8" Error HandEdit,
        "the file is not UTF-8, which TOML and containerd 2.x require, or the name of an imported file is not",
        "TOML is UTF-8, and containerd 2.x does not start with anything else; 1.x accepts invalid bytes in comments. \
         Save the file as UTF-8; the message says which byte is the first that is not. A file whose name is not UTF-8 \
         is read by containerd if a pattern in `imports` matches it, and this program cannot name it: rename it.";
    OPEN_IMPORT_PATTERN "open-import-pattern" Error HandEdit,
        "a pattern in imports that matches every name, also those of temporary files",
        "A file is replaced by writing a new one beside it and renaming that. A pattern such as conf.d/* would let \
         containerd read the temporary file if it started at that moment, and CRI would not load with mirrors in the \
         one and config_path in the other. Write *.toml, as containerd's own default does.";
    OTHER_PLUGIN_ID "other-plugin-id" Error
        Choose("--inert drop: what --from does stays so; --inert carry: the settings take effect on every release"),
        "registry settings under the name that the CRI plugin has in files of another version",
        "The CRI plugin has had three names: `cri` in files of version 1, io.containerd.grpc.v1.cri in version 2, \
         io.containerd.cri.v1.images in version 3 and 4. Under a name that does not fit the file's version, settings \
         take effect on some releases only: 2.3 and later read the version-2 name in version-3 files, 2.x reads the \
         version-3 name in version-2 files. --inert drop removes them, --inert carry lets them take effect on every \
         release.";
    OVERRIDDEN_SETTING "overridden-setting" Note HandEdit,
        "a file that is read later sets the same again, so that this one has no effect",
        "Imported files are read after the file that imports them, and on 2.x they are merged key by key: what is read \
         last takes effect. This setting is set again by a later file, so it has no effect, and is removed with the \
         others. Nothing has to be done, unless the later file is the wrong one.";
    OVERRIDE_PATH_UNSUPPORTED "override-path-unsupported" Error
        Allow("writes override_path, which containerd 1.5 ignores"),
        "containerd 1.5 has no override_path, without which an endpoint's path cannot be kept",
        "containerd knows override_path since 1.6.0. 1.5 ignores it and appends /v2 to every path that does not end in \
         it, so that an endpoint such as https://host/proxy cannot be written for it. If the node runs a newer \
         containerd, set --from to its version; if not, upgrade first, or accept that 1.5 asks the endpoint under \
         another path.";
    PATH_WITHOUT_V2 "path-without-v2" Warning HandEdit,
        "an endpoint whose path has no /v2 is asked without it, before and after the migration; most registries answer \
         404",
        "The old settings use an endpoint's path as it is: https://host/proxy asks /proxy/library/..., and a lone \
         slash asks /library/..., without /v2. Most registries answer 404 to that, and containerd tries the next host. \
         The path is kept with override_path, so that requests stay the same; if this mirror never worked, this is \
         why.";
    PROOF_FAILED "proof-failed" Error HandEdit,
        "the planned files would not give the same pulls",
        "Before anything is written, the planned files are read back as each release that the plan is verified for \
         reads them, and compared with what the settings give. They give other pulls, and the program knows no reason \
         for it. Nothing is written. This is a bug in the program: report it with the files, but remove the \
         credentials from them first.";
    PULL_SERVICE_CHANGES "pull-service-changes" Note HandEdit,
        "without legacy settings containerd 2.1 and later pull through the transfer service",
        "containerd 2.1 and later pull through their transfer service, unless a legacy registry setting or one of a \
         few others keeps CRI's own puller. With the last legacy setting gone, that changes. Requests, credentials and \
         images are the same; `registry.headers` no longer reach token servers, image_pull_progress_timeout acts only \
         once the first mebibyte of a layer has arrived, and error texts differ. --keep-local-pull writes \
         use_local_image_pull = true, which 2.1 and later read and 1.x does not.";
    RELATIVE_CERTIFICATE_PATH "relative-certificate-path" Warning HandEdit,
        "a relative certificate path is made absolute against /, where containerd runs",
        "The old settings resolve a relative path against the directory that containerd was started in, which is / \
         under systemd; a hosts.toml resolves it against its own directory. It becomes absolute, so that it means the \
         same file. If containerd is started in another directory on this node, write the absolute path before you \
         migrate.";
    RELATIVE_CONFIG_PATH "relative-config-path" Warning HandEdit,
        "a relative config_path is made absolute against /, where containerd runs",
        "A relative config_path is resolved against the directory that containerd was started in, which is / under \
         systemd. It becomes absolute, so that it does not depend on that any more. If containerd is started in \
         another directory on this node, write the absolute path before you migrate.";
    RELATIVE_IMPORT_PATTERN "relative-import-pattern" Error HandEdit,
        "a relative pattern in imports, which older containerd looks up in its working directory",
        "containerd 1.5, 1.6.0 to 1.6.28 and 1.7.0 to 1.7.15 resolve a relative pattern in `imports` against the \
         directory that they were started in, and newer ones against the importing file. So they read different files, \
         and no plan is the same for both. Write the pattern as an absolute path.";
    REPEATED_ENDPOINT "repeated-endpoint" Note HandEdit,
        "an endpoint that appears twice is tried once, at its first place",
        "The same host appears twice in the list, or containerd itself appends it at the end, and asks it twice. Asked \
         again it gives the same answer. In a hosts.toml a table that appears twice makes every version discard the \
         file, so the host is written once, at its first place. Nothing has to be done.";
    ROLLBACK_AFTER_UPGRADE "rollback-after-upgrade" Error
        Allow("rolls back, although the installed containerd does something else with the old files"),
        "the installed containerd reads the files from before a run differently than the one they were written for",
        "The run preserved what an older containerd does, and another one is installed now. With the files from before the \
         run it pulls differently, or CRI does not load: containerd 2.x ignores `configs.*.tls`, and 2.0 to 2.2 drop the CRI \
         section of a version-1 file. Install the containerd that the files were written for before you roll back. Or accept \
         the finding, if the differences that are named do not matter on this node.";
    SAME_AS_DEFAULT "same-as-default" Note HandEdit,
        "what is set is what containerd does anyway; no hosts file is needed",
        "What this entry says is what containerd does without it: an endpoint that is the registry itself, or TLS \
         settings that change nothing. It is removed, and no hosts file is needed. Nothing has to be done.";
    SAME_PLUGIN_TWICE "same-plugin-twice" Error HandEdit,
        "two names of the CRI plugin in one file of version 1: containerd 2.x uses one of them at random",
        "containerd 2.x renames the plugins of a version-1 file, or of one without a version, before it reads them. \
         Where the file has both `cri` and io.containerd.grpc.v1.cri, chance decides at each start which of them takes \
         effect (`v1Migrate` iterates over a map). Put what is meant under one name.";
    SECRET_COMMENT "secret-comment" Note HandEdit,
        "a comment that looks like a secret is not moved into a hosts file",
        "The comment looks like a password or token. Everyone may be able to read a hosts.toml file, so it is not moved \
         into one. The old file with it stays in the journal of the run.";
    SECTION_SHADOWED "section-shadowed" Error
        Choose("--inert drop: what --from does stays so; --inert carry: the settings take effect on every release"),
        "registry settings that a drop-in replaces on 1.x, and that 2.x merges with it",
        "containerd 1.x takes a plugin's section whole from the last file that has it, so a drop-in with any CRI \
         setting replaces the registry settings of the files before it; 2.x merges the sections key by key, and what \
         was replaced takes effect, credentials and all. --inert drop removes the replaced settings, so that pulls \
         stay as they are on --from. --inert carry migrates what the target makes of all files, and lists the pulls \
         that change by that and the credentials that are sent newly.";
    SEVERAL_CONFIG_PATHS "several-config-paths" Warning HandEdit,
        "config_path names several directories, which containerd 2.1 and later do not find; it becomes the first one",
        "containerd's own puller splits config_path at colons and looks into one directory after the other; the \
         transfer service of 2.1 and later reads it as one name and finds no hosts file at all, without a line in its \
         log. So config_path becomes its first directory, and what only the others give is written there, so that \
         pulls stay the same. The other directories stay as they are, and have no effect after the migration.";
    SHADOWED_DIRECTORY "shadowed-directory" Warning HandEdit,
        "a directory in the certs directory that another spelling of its name hides",
        "containerd looks for HOST_PORT_ before HOST:PORT, and the first directory that exists decides. The other one \
         is never read. It stays as it is; merge the two by hand if it is meant to take effect.";
    SKIP_VERIFY_ON_HTTP_ENDPOINT "skip-verify-on-http-endpoint" Note HandEdit,
        "insecure_skip_verify for an http endpoint is left out: newer containerd would try HTTPS first",
        "There is no certificate to verify on plain http. In a hosts.toml skip_verify on an http host, even false, \
         makes containerd try https first: since 1.6.25 and 1.7.8 on a port that is given and is not 80, since 1.7.24 \
         and 2.0 also without one. So it is left out, which keeps the requests as they are. If the registry redirects \
         to https, write the endpoint with https.";
    STRAY_FILE "stray-file" Warning HandEdit,
        "a file where containerd looks for the directory of a registry of that name",
        "Below config_path containerd looks for a directory that is called like the registry. Once config_path is set, \
         a file in its place fails all pulls of that registry, on every version. A README.md does no harm, since no \
         registry has that name; a file with the name of a registry, whose pulls would change, is an error \
         (unreadable-directory). The file stays, since the program never deletes anything in the certs directory; move \
         it elsewhere if a registry has its name.";
    TLS_BESIDE_CONFIG_PATH "tls-beside-config-path" Warning HandEdit,
        "with configs.*.tls and config_path both set containerd 1.x does not load CRI; the settings are carried",
        "containerd 1.x does not load CRI when configs.*.tls and config_path are both set; 2.x ignores the TLS \
         settings with a line in its log. They are carried into hosts files, which ends the conflict. Look at the \
         pulls that are shown: these settings have no effect today.";
    TLS_IGNORED_TODAY "tls-ignored-today" Warning HandEdit,
        "containerd 2.x ignores configs.*.tls; certificates are carried, skip_verify is not",
        "containerd 2.0 and later ignore configs.*.tls with no more than a line in the log, so a registry with its \
         own CA or a client certificate has been asked without them since the upgrade. CA files and client certificates \
         are carried, as 1.x meant them: no pull that works today fails with them. insecure_skip_verify is not, since \
         it would switch verification off; --inert carry carries it, too. Where a hosts file takes effect today, that \
         decides, and the settings are removed.";
    TLS_ON_HTTP_ENDPOINT "tls-on-http-endpoint" Warning HandEdit,
        "certificates for an http endpoint are left out; they only matter where it redirects to https",
        "Certificates do nothing on plain http, unless the registry redirects to https or its token server uses it. \
         In a hosts.toml they make containerd try https first: since 1.6.25 and 1.7.8 on a port that is given and is \
         not 80, since 1.7.24 and 2.0 also without one. They are left out, which keeps the requests as they are. If \
         the registry does redirect, write the endpoint with https.";
    TOML_DIALECT "toml-dialect" Error
        Allow("migrates and keeps the text; the containerd named does not start with it"),
        "a way to write TOML that one containerd reads and another does not",
        "The release lines of containerd have different TOML readers: 1.x accepts a line break in an inline table, 2.0 \
         to 2.3 do not, and 2.4 accepts it again, and other parts of TOML 1.1. A config.toml that is refused keeps the \
         daemon from starting. The program does not change text outside of the registry settings, so it does not \
         rewrite this. Write it in a way that all of them read; accept the finding if the releases in the message \
         never run here.";
    TOO_MANY_HOSTS "too-many-hosts" Error HandEdit,
        "the lists of hosts of all registries are too long for this program",
        "The mirrors and hosts files of this node give more hosts than this program works with: the lists of all \
         registries that the node names, each with the hosts of the wildcard or of _default where these are for it, \
         and the endpoints themselves, which are registries, too. No node needs so many. Remove mirrors that nobody \
         uses.";
    UNKNOWN_CREDENTIAL_KEY "unknown-credential-key" Warning HandEdit,
        "a key beside credentials that containerd does not know; it stays, without effect",
        "containerd knows username, password, auth and identitytoken beside credentials, on every version. Anything \
         else, such as identity_token, token, registrytoken or email, is ignored, before and after the migration. It \
         stays as it is, since the program never changes credentials. Write the right name if it is meant, or remove \
         it.";
    UNKNOWN_HOSTS_KEY "unknown-hosts-key" Warning HandEdit,
        "a key in a hosts file that no containerd reads; it is kept",
        "containerd ignores keys in a hosts.toml that it does not know, without a line in its log: names from config.toml \
         such as insecure_skip_verify and ca_file (they are called skip_verify and ca here), credentials (they belong in \
         config.toml on every release), and whole sections of config.toml. Pulls are as if the key were not there. The \
         message shows what to write if it is meant.";
    UNKNOWN_KEY "unknown-key" Warning HandEdit,
        "a key in a mirror or in TLS settings that no containerd reads; it is removed with them",
        "containerd ignores this key, so pulls are the same without it. The entry that it is in is carried into a \
         hosts file, and the key is removed with the entry; the journal keeps the old file. The message shows where \
         containerd reads such a setting: credentials and certificates belong in the table of the host in `configs`. \
         `rewrite` is read by the containerd of k3s and rke2 only, from registries.yaml.";
    UNPARSABLE_AUTHS_KEY "unparsable-auths-key" Error HandEdit,
        "a name in registry.auths that containerd cannot parse: CRI does not load",
        "containerd parses the names in registry.auths as URLs when CRI loads. A name such as 10.0.0.1:5000, without a \
         scheme, is an error there, and CRI does not load on any version. The program never changes credentials: write \
         the name with https:// in front, after which they are used, or remove it.";
    UNPARSABLE_ENDPOINT "unparsable-endpoint" Error
        Allow("leaves the endpoint out; pulls that fail today then use the other hosts"),
        "an endpoint that containerd cannot parse, so that every pull of this name fails today",
        "containerd cannot parse this endpoint as a URL, and every version fails every pull of the name that it \
         belongs to. What was meant cannot be known, so fix it. Accepting the finding leaves it out, after which the \
         other hosts are asked.";
    UNREACHABLE_ENDPOINT "unreachable-endpoint" Warning HandEdit,
        "an endpoint without a host, or with a scheme other than http and https, never answers and is left out",
        "The endpoint has no host, or a scheme other than http and https. Every containerd fails to ask it and tries \
         the next host, so pulls are the same without it. It is left out. If a mirror was meant, fix the endpoint \
         before you migrate.";
    UNREADABLE_DIRECTORY "unreadable-directory" Error HandEdit,
        "containerd cannot read the directory of a registry, so that its pulls would fail",
        "Below config_path is something that containerd cannot read as a registry's directory: a file in its place, or \
         a hosts.toml that is a directory, with which every version fails the pulls of that registry; or a link that \
         leads nowhere, where a file is to be written. The program never deletes anything in the certs directory. Move \
         it elsewhere, and plan again.";
    UNSUPPORTED_VERSION "unsupported-version" Error HandEdit,
        "the file's version is not 1, 2, 3 or 4",
        "containerd has had config.toml of version 1 to 4: 3 came with 2.0, and 4 with 2.3. What a newer file means is \
         not known to this release, so nothing is planned. Look for a newer release of this program, or fix the number \
         if it is a mistake.";
    UPGRADE_CHANGES_PULLS "upgrade-changes-pulls" Warning HandEdit,
        "a later release reads existing hosts files differently, with or without the migration",
        "Hosts files that take effect today, or that a later release reads by itself, are not changed; but releases read them \
         in different ways: some discard what others read, some try HTTPS first where others use plain http. The pulls that \
         are shown for after the migration are those of the target version. Fix the hosts file if pulls are to stay as they \
         are.";
    VERSION_1 "version-1" Error
        Choose("--v1 keep: keep the file at version 1; --v1 convert: give every plugin its version-2 name; where --from \
                drops the section, --inert drop or --inert carry"),
        "containerd 2.0 to 2.2 drop the whole CRI section of a version-1 file, which stays version 1",
        "containerd 2.0 to 2.2 give a version-1 file the number of the newest version without moving its CRI section, so \
         that all of it is lost without an error: mirrors, config_path, runtimes, sandbox image. 1.x and 2.3 and \
         later read it. By default (--v1 auto) the file is converted where a later release would drop the section: \
         every plugin gets its version-2 name, which all releases read. Where that is not possible, the message says \
         why, and the file stays version 1, as it does with --v1 keep. Do not upgrade such a node to 2.0 to 2.2. Where \
         --from drops the section, --inert drop removes the registry settings, and --inert carry converts the file so \
         that they take effect on every release.";
    VERSION_1_SETTING "version-1-setting" Warning HandEdit,
        "a setting of a version-1 file that containerd 2.x does not read under any name",
        "Some settings of a version-1 file have no successor on 2.x: [plugins.linux], default_runtime below \
         cri.containerd, a snapshotter without runtimes, and the old names of the restart and cgroups plugins in \
         disabled_plugins. They are not about registries, so the program does not change them. Look at them before the \
         upgrade.";
    VERSION_MISSING "version-missing" Error
        Choose("--inert drop: what --from does stays so; --inert carry: the settings take effect on every release"),
        "registry settings under the version-2 name in a file without a version",
        "Without `version` in its first lines a file is of version 1, in which the CRI plugin is called `cri`; a \
         `version` below a table belongs to that table. Settings under the version-2 name have no effect on 1.x and 2.0 \
         to 2.2, and take effect on 2.3 and later. --inert drop removes them. --inert carry writes `version = 2`, so \
         that all releases read the file, and with it every other table with a full name.";
    VERSION_NEWER_THAN_KNOWN "version-newer-than-known" Warning HandEdit,
        "the release line of a containerd version is not known to this program",
        "This program does not know the release line of the version, so it cannot know what changed there. It takes the \
         version for the newest known release before it. Look for a newer release of this program before you rely on \
         that. A patch release of a known line that is newer than this program counts as the newest known one of its line, \
         without this warning.";
    VERSION_NOT_READ "version-not-read" { said_once: true } Error
        Choose("set --from and --to to containerd versions that read this file"),
        "the installed containerd or a target version cannot read a config.toml of this version",
        "1.6.32, 1.7.17 and later 1.x refuse a config.toml of version 3 or 4, 2.0 to 2.2 one of version 4, and the \
         daemon does not start; older 1.x reads a version-3 file and finds no CRI settings in it. So the file \
         does not belong to that release, and there is nothing to keep. Set --from to the installed containerd, and --to to \
         the target version.";
    WILDCARD_UNSUPPORTED "wildcard-unsupported" Error
        Allow("writes _default, which containerd before 1.6.17 does not look up"),
        "containerd before 1.6.17 has no _default directory, without which mirrors.\"*\" cannot be kept",
        "The directory _default, which replaces mirrors.\"*\", is looked up since 1.6.17 and 1.7.0, and in no 1.5. \
         Without it the wildcard's mirrors are lost. If the node runs a newer containerd, set --from to its version; \
         if not, upgrade first, write a mirror for each registry by name, or accept the finding.";
    WINDOWS_NODE "windows-node" Error HandEdit,
        "the configuration of a Windows node, which this program does not migrate",
        "A path in the file has a drive letter, or begins with two backslashes, so that the file is for containerd on \
         Windows. There paths, the names of the directories of hosts files and the start of the daemon follow other \
         rules, which this program does not know. Write the hosts files of such a node by hand.";
    WRONG_TYPE "wrong-type" { said_once: true, stays: true } Error HandEdit,
        "a value of the wrong type, with which containerd does not start",
        "A value has another type than containerd expects, such as a string where a list must be. containerd converts \
         no types, and does not start with it on any version; only below configs.*.tls does 2.x ignore it. What was \
         meant cannot be known, so fix the value.";
}

/// The code with this name.
pub fn code(name: &str) -> Option<&'static Code> {
    ALL.iter().copied().find(|code| code.name == name)
}

/// A file that findings point into, by its number in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub usize);

/// A range of bytes in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: FileId,
    /// The bytes.
    pub range: Range<usize>,
}

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub place: Place,
}

/// One thing that is said about a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which row of the table.
    pub code: &'static Code,
    /// Its weight here: less than the code's if an operator has accepted it.
    pub severity: Severity,
    /// What is the matter, as a phrase.
    pub message: String,
    /// Where, if it is about a place in a file.
    pub place: Option<Place>,
    /// What to do, or what is done.
    pub help: String,
    /// The question that it asks, or that has been answered, if it is about one.
    pub question: Option<Question>,
}

/// Where a finding's place begins.
type Start = (FileId, usize);

/// The findings of a run, and what the operator has accepted.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    found: Vec<Finding>,
    /// What was said where, so that nothing is said twice.
    seen: HashSet<(&'static str, Option<Start>, String)>,
    /// Where something was said, whatever the words.
    at: HashSet<(&'static str, FileId, usize, usize)>,
    allowed: BTreeSet<&'static str>,
    /// Findings about what `--inert carry` would make take effect.
    carry_hints: Vec<usize>,
}

impl Findings {
    /// An empty list; findings with one of the codes `allowed` do not stand in the way.
    pub fn new(allowed: impl IntoIterator<Item = &'static Code>) -> Self {
        Self {
            allowed: allowed.into_iter().map(|code| code.name).collect(),
            ..Self::default()
        }
    }

    /// Whether the operator accepts this code.
    pub fn allows(&self, code: &'static Code) -> bool {
        self.allowed.contains(code.name)
    }

    /// Adds a finding; the same one at the same place is not repeated.
    pub fn add(
        &mut self,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let acceptable = matches!(code.decision, Decision::Allow(_));
        let accepted = code.severity == Severity::Error && self.allows(code);
        let severity = if accepted {
            Severity::Warning
        } else {
            code.severity
        };
        let question = acceptable.then_some(Question::Accept);
        self.add_as((severity, question), code, place, message, help);
    }

    /// Adds a finding that stands in the way until this question is answered.
    pub fn ask(
        &mut self,
        question: Question,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let weight = (Severity::Error, Some(question));
        self.add_as(weight, code, place, message, help);
    }

    /// Adds a finding about what this question, which has been answered, decides.
    pub fn add_answered(
        &mut self,
        question: Question,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let severity = code.severity.min(Severity::Warning);
        self.add_as((severity, Some(question)), code, place, message, help);
    }

    /// Adds a finding for the record, whatever its code weighs elsewhere.
    pub fn add_note(
        &mut self,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add_as((Severity::Note, None), code, place, message, help);
    }

    /// Adds a finding that stands in the way even if its code is allowed.
    pub fn add_refused(
        &mut self,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.add_as((Severity::Error, None), code, place, message, help);
    }

    /// Where there are findings of this code.
    pub fn places(&self, code: &Code) -> Vec<Place> {
        let found = self.found.iter().filter(|finding| finding.code == code);
        found.filter_map(|finding| finding.place.clone()).collect()
    }

    /// Takes the findings of this code back.
    pub fn remove(&mut self, code: &Code) {
        self.carry_hints.clear();
        self.found.retain(|finding| finding.code != code);
        self.seen.retain(|(name, ..)| *name != code.name);
    }

    /// Adds a finding that an option of its own has decided.
    pub fn add_decided(
        &mut self,
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let severity = code.severity.min(Severity::Warning);
        self.add_as((severity, None), code, place, message, help);
    }

    fn add_as(
        &mut self,
        (severity, question): (Severity, Option<Question>),
        code: &'static Code,
        place: impl Into<Option<Place>>,
        message: impl Into<String>,
        help: impl Into<String>,
    ) {
        let message = message.into();
        work::count(message.len());
        let finding = Finding {
            code,
            severity,
            message: printable(&message),
            place: place.into(),
            help: printable(&help.into()),
            question,
        };
        let place = finding
            .place
            .as_ref()
            .map(|place| (place.file, place.range.start));
        if self
            .seen
            .insert((code.name, place, finding.message.clone()))
        {
            self.at
                .extend(finding.place.as_ref().map(|place| key(code, place)));
            self.found.push(finding);
        }
    }

    /// Whether this is said of this place.
    pub fn has(&self, code: &'static Code, place: &Place) -> bool {
        self.at.contains(&key(code, place))
    }

    /// Whether something stands in the way of writing.
    pub fn refused(&self) -> bool {
        self.found
            .iter()
            .any(|finding| finding.severity == Severity::Error)
    }

    /// Marks the last finding: if `--inert carry` works on this node, its help says so.
    pub fn hint_carry(&mut self) {
        self.carry_hints.extend(self.found.len().checked_sub(1));
    }

    /// Whether a finding is marked for that.
    pub fn hints_carry(&self) -> bool {
        !self.carry_hints.is_empty()
    }

    /// Adds to the help of those that are marked.
    pub fn add_hint(&mut self, hint: &str) {
        for index in std::mem::take(&mut self.carry_hints) {
            if let Some(finding) = self.found.get_mut(index) {
                finding.help.push_str(hint);
            }
        }
    }

    /// The questions that are open, each with the findings that ask it.
    pub fn questions(&self) -> BTreeMap<&Question, Vec<&Finding>> {
        let mut questions: BTreeMap<&Question, Vec<&Finding>> = BTreeMap::new();
        let errors = self.found.iter();
        for finding in errors.filter(|finding| finding.severity == Severity::Error) {
            if let Some(question) = &finding.question {
                questions.entry(question).or_default().push(finding);
            }
        }
        questions
    }

    /// Whether something stands in the way that no answer removes.
    pub fn blocked(&self) -> bool {
        let mut errors = self.found.iter();
        errors.any(|finding| finding.severity == Severity::Error && finding.question.is_none())
    }

    /// The same findings, with these codes accepted as well.
    pub fn accepting(&self, codes: &[&'static Code]) -> Self {
        let mut accepting = self.clone();
        accepting.allowed.extend(codes.iter().map(|code| code.name));
        for finding in &mut accepting.found {
            if finding.question == Some(Question::Accept) && codes.contains(&finding.code) {
                finding.severity = finding.severity.min(Severity::Warning);
            }
        }
        accepting
    }

    /// Makes notes of what asked the questions that need no answer of an operator; `why` says why.
    pub fn settle(&mut self, why: &str) {
        let options = |question: &Question| *question != Question::Accept;
        for finding in &mut self.found {
            if finding.question.as_ref().is_some_and(options) {
                finding.severity = Severity::Note;
                why.clone_into(&mut finding.help);
            }
        }
    }

    /// Errors, then warnings, then notes; of each by file and place, and those without a place last. What is said of a
    /// plan that can be written is left out where there is none.
    pub fn sorted(&self) -> Vec<&Finding> {
        let of_plan = [&SAME_AS_DEFAULT, &PULL_SERVICE_CHANGES];
        let refused = self.refused();
        let mut findings: Vec<&Finding> = self.found.iter().collect();
        findings.retain(|finding| !refused || !of_plan.contains(&finding.code));
        findings.sort_by_key(|finding| {
            let place = finding.place.as_ref();
            let position = place.map(|place| (place.file, place.range.start, place.range.end));
            (Reverse(finding.severity), place.is_none(), position)
        });
        findings
    }
}

fn key(code: &'static Code, place: &Place) -> (&'static str, FileId, usize, usize) {
    (code.name, place.file, place.range.start, place.range.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_unique_and_says_what_it_must() {
        assert!(
            ALL.is_sorted_by(|a, b| a.name < b.name),
            "sorted by name, each once"
        );
        for code in ALL {
            assert!(
                code.name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{}",
                code.name
            );
            assert!(
                !code.meaning.ends_with('.') && !code.meaning.is_empty(),
                "{}",
                code.name
            );
            assert!(
                code.severity == Severity::Error || code.decision == HandEdit,
                "{}",
                code.name
            );
        }
    }

    #[test]
    fn an_accepted_error_is_a_warning_and_no_other_one() {
        let mut findings = Findings::new([&UNKNOWN_KEY]);
        findings.add(&UNKNOWN_KEY, None, "k", "");
        assert!(!findings.refused());
        findings.add(&WRONG_TYPE, None, "t", "");
        assert!(findings.refused());
        findings.add(&WRONG_TYPE, None, "t", "");
        assert_eq!(findings.sorted().len(), 2);
    }

    #[test]
    fn errors_come_before_warnings_and_notes_and_then_the_order_of_the_files() {
        let mut findings = Findings::default();
        let place = |file, start: usize| Place {
            file: FileId(file),
            range: start..start + 1,
        };
        findings.add(&REPEATED_ENDPOINT, place(0, 1), "note", "");
        findings.add(&STRAY_FILE, None, "warning without a place", "");
        findings.add(&STRAY_FILE, place(1, 5), "warning in the second file", "");
        findings.add(&STRAY_FILE, place(0, 9), "warning", "");
        findings.add(&WRONG_TYPE, place(1, 7), "second error", "");
        findings.add(&WRONG_TYPE, place(1, 3), "error", "");
        let sorted: Vec<&str> = findings
            .sorted()
            .iter()
            .map(|f| f.message.as_str())
            .collect();
        let expected = [
            "error",
            "second error",
            "warning",
            "warning in the second file",
            "warning without a place",
            "note",
        ];
        assert_eq!(sorted, expected);
    }
}

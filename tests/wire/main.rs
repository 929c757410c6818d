//! What goes over the wire is the same before and after a migration: real containerd daemons pull
//! through their CRI from nodes before and after `apply`, and everything that leaves them is
//! compared.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod certificates;
mod compare;
mod cri;
mod daemon;
mod node;
mod proxy;
mod world;

fn main() {
    let (daemons, _) = daemon::available();
    let node = node::Node::of_files(&[("etc/containerd/config.toml", r#"version = 2
[plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
  endpoint = ["http://m.example:5000/foo", "https://n.example", "localhost:5000"]
[plugins."io.containerd.grpc.v1.cri".registry.configs."n.example".tls]
  ca_file = "/etc/ssl/n.pem"
  cert_file = "/etc/ssl/n.crt"
  key_file = "/etc/ssl/n.key"
[plugins."io.containerd.grpc.v1.cri".registry.configs."n.example".auth]
  username = "u"
  password = "p"
[plugins."io.containerd.grpc.v1.cri".registry.configs."registry-1.docker.io".auth]
  username = "u2"
  password = "p"
"#)]);
    for d in &daemons {
        let start = std::time::Instant::now();
        let run = daemon::run(d, &node.tree(), &node.world, &["docker.io/wire/image:t".into(), "n.example/wire/image:t".into()]);
        println!("{d} {:?} {:?}", run.boot, start.elapsed());
        for p in &run.pulls { println!("{} {:?}", p.image, p.answer); for l in compare::lines(&p.events) { println!("   {l}"); } }
        println!("{}", run.log_that_matters());
    }
}

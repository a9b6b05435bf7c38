//! temporary
use prost::Message as _;
use std::path::PathBuf;
#[tokio::main]
async fn main() {
    let args: Vec<String> = std::env::args().collect();
    let store = store::Store::open(&store::Config::new(PathBuf::from(&args[1]))).unwrap();
    if args[2].ends_with(".json") {
        let s = sanitizer::json(&std::fs::read(&args[2]).unwrap()).unwrap();
        println!("{:?}", s.report());
        store.write(s).await.unwrap();
    } else {
        let n: u32 = args[2].parse().unwrap();
        let base = testkit::otlp::now_ms() - 14 * 86_400_000 + 3_600_000;
        let t = std::time::Instant::now();
        let mut in_write = std::time::Duration::ZERO;
        for from in (0..n).step_by(500) {
            let rows: Vec<_> = (from..from + 500)
                .flat_map(|k| {
                    let r = testkit::otlp::Row {
                        admitted_ms: base + u64::from(k) * 1_100_000_000 / u64::from(n),
                        pool: format!("pool-{}", k % 7),
                        status: if k % 97 == 0 { contract::RequestStatus::Failed } else { contract::RequestStatus::Succeeded },
                        ..testkit::otlp::Row::numbered(k + 1)
                    };
                    [r.span(), r.attempt(1, contract::AttemptStatus::Succeeded)]
                })
                .collect();
            let s = sanitizer::protobuf(&testkit::otlp::request(rows).encode_to_vec()).unwrap();
            let w = std::time::Instant::now();
            store.write(s).await.unwrap();
            in_write += w.elapsed();
        }
        println!("{n} rows in {:?}, in write {:?}", t.elapsed(), in_write);
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:43210").await.unwrap();
    axum::serve(listener, tempo_api::router(store.reader())).await.unwrap();
}

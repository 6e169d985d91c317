//! Times of the steps, each for one hundred events.

#![expect(missing_docs, reason = "the macros generate undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("of 100 events");
    group.throughput(Throughput::Elements(micro::EVENTS as u64));
    for mut step in micro::steps() {
        group.bench_function(step.name, |bencher| bencher.iter(|| (step.run)()));
    }
    group.finish();
}

criterion_group!(all, steps);
criterion_main!(all);

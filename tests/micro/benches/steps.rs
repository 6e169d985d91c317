//! Times of the steps.

#![expect(missing_docs, reason = "the macros generate undocumented functions")]

use criterion::{Criterion, Throughput, criterion_group, criterion_main};

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("steps");
    for mut step in micro::steps() {
        group.throughput(Throughput::Elements(step.events as u64));
        group.bench_function(step.name, |bencher| bencher.iter(|| (step.run)()));
    }
    group.finish();
}

criterion_group!(all, steps);
criterion_main!(all);

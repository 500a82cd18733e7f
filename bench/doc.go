// Package bench measures pgsafe beside the drivers that a team would use otherwise, on a real
// server, in one run. BenchmarkTable prints most of it as Markdown tables:
//
//	go test -run '^$' -bench Table -benchtime 1x ./bench
//
// In it all drivers take short turns, so that they share what else the machine does. pgx takes
// part twice: the column pgx-again shows how far apart two equal drivers come. -rounds sets the
// number of turns, -short makes everything shorter. The other benchmarks run one driver after the
// other:
//
//	go test -bench . ./bench
//
// Sub-benchmarks are called after the driver, so benchstat compares drivers and versions:
//
//	go test -run '^$' -bench Table -benchtime 1x -count 6 -timeout 1h ./bench | tee new.txt
//	benchstat -col /driver -filter '.unit:(allocs/op OR cpu-ns/op)' new.txt
//	benchstat old.txt new.txt
//
// BenchmarkTelemetry, BenchmarkTraceComments and BenchmarkDifferentTexts compare libraries for
// OpenTelemetry: without an SDK, with one and a request that is not sampled, and with a sampled
// request. TestTelemetryAllocations limits the allocations, and skips a sampled request under the
// race detector.
//
// Times of one run compare with each other and with nothing else. Counts, of allocations and of
// connections opened, are the same on any machine.
package bench

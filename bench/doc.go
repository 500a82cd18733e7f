// Package bench measures pgsafe beside the drivers that a team would use otherwise, on a real server, in one run:
//
//	go test -bench . ./bench
//
// Sub-benchmarks are called after the driver, so benchstat compares them with
//
//	go test -bench . -count 10 ./bench | tee new.txt
//	benchstat -col /driver new.txt
//
// BenchmarkTelemetry, BenchmarkTraceComments and BenchmarkDifferentTexts do the same with libraries for OpenTelemetry:
// without an SDK, with one and a request that is not sampled, and with one that is. TestTelemetryAllocations holds the
// numbers of allocations; that of a sampled request only without the race detector.
//
// Times of one run compare with each other and with nothing else. Counts, of allocations and of connections opened,
// are the same on any machine.
package bench

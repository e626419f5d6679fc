// Written by edgekit for a Mac. NOT COMPILED where it was written: no Swift compiler was there.
// Compiles, proves and times a bundle's packages: swift run -c release edgekit-mac [--bundle FOLDER] [--runs N]
import CoreML
import Foundation

struct Options {
    var bundle = URL(fileURLWithPath: ".")
    var runs = 100
    var rounds = 3
    var warmUp = 10

    init(_ arguments: [String]) throws {
        var left = arguments[...]
        while let name = left.popFirst() {
            guard let value = left.popFirst() else {
                throw Failure(problem: "\(name) has no value", fix: "give --bundle FOLDER, --runs, --rounds or --warm-up N")
            }
            switch (name, Int(value)) {
            case ("--bundle", _): bundle = URL(fileURLWithPath: value)
            case ("--runs", .some(let number)) where number > 0: runs = number
            case ("--rounds", .some(let number)) where number > 0: rounds = number
            case ("--warm-up", .some(let number)) where number > 0: warmUp = number
            default:
                throw Failure(problem: "unknown option \(name) \(value)", fix: "give --bundle, --runs, --rounds or --warm-up")
            }
        }
    }
}

func say(_ text: String) {
    FileHandle.standardError.write(Data((plain(text) + "\n").utf8))
}

func measure(_ artifact: ArtifactRow, in bundle: BundleFiles, _ options: Options) async throws -> [Row] {
    let place = "\(artifact.component)/\(artifact.variant)"
    say("\(place): compiling")
    let start = DispatchTime.now().uptimeNanoseconds
    let compiled = try await MLModel.compileModel(at: bundle.package(of: artifact))
    defer { try? FileManager.default.removeItem(at: compiled) }
    let elapsed = Double(DispatchTime.now().uptimeNanoseconds - start) / 1e6
    var rows = [Row.measured("\(place)/compile", elapsed, "ms", "MLModel.compileModel, once")]
    var ready: [(name: String, runner: Runner, feeds: MLFeatureProvider)] = []
    for (name, units) in settings {
        do {
            var loaded: MLModel?
            let ms = try milliseconds { loaded = try MLModel(contentsOf: compiled, configuration: configuration(units)) }
            guard let model = loaded else { continue }
            rows.append(.measured("\(place)/\(name)/load", ms, "ms", "first load for this setting"))
            let runner = Runner(artifact: artifact, model: model)
            rows += try parity(of: runner, in: bundle, place: "\(place)/\(name)")
            rows += try await planned(compiled, units, place: "\(place)/\(name)")
            let first = try bundle.samples(of: artifact.component)[0]
            ready.append((name, runner, try runner.feeds(first, in: bundle)))
        } catch {
            say("error: \(place)/\(name): \(error)")
            rows.append(.skipped("\(place)/\(name)/latency/p50", "ms", error))
        }
    }
    return rows + (try timed(ready, options, place: place))
}

func parity(of runner: Runner, in bundle: BundleFiles, place: String) throws -> [Row] {
    try runner.compare(with: bundle).sorted { $0.key < $1.key }.flatMap { key, found -> [Row] in
        let path = "\(place)/parity/\(key)"
        return [
            .measured("\(path)/sqnr_db", found.sqnr, "dB", "worst golden sample; none where equal"),
            .measured("\(path)/cosine", found.cosine, "", "worst golden sample"),
            .measured("\(path)/max_abs", found.maxAbs, "", "worst golden sample"),
        ]
    }
}

func planned(_ compiled: URL, _ units: MLComputeUnits, place: String) async throws -> [Row] {
    let plan = try await MLComputePlan.load(contentsOf: compiled, configuration: configuration(units))
    let basis = "MLComputePlan: what Core ML means to use, not what ran"
    return countOperations(plan).sorted { $0.key < $1.key }.flatMap { unit, found -> [Row] in
        [
            .measured("\(place)/plan/\(unit)/ops", Double(found.ops), "operations", basis),
            .measured("\(place)/plan/\(unit)/cost", found.cost, "share", basis),
        ]
    }
}

/// Rounds that go through all settings, odd ones backwards, so that heat falls on all alike.
func timed(
    _ ready: [(name: String, runner: Runner, feeds: MLFeatureProvider)], _ options: Options, place: String
) throws -> [Row] {
    var times: [String: [Double]] = [:]
    for round in 0..<options.rounds {
        for entry in round % 2 == 0 ? ready : ready.reversed() {
            for _ in 0..<options.warmUp { _ = try entry.runner.model.prediction(from: entry.feeds) }
            for _ in 0..<options.runs {
                times[entry.name, default: []].append(
                    try milliseconds { _ = try entry.runner.model.prediction(from: entry.feeds) })
            }
        }
    }
    let basis = "wall time of prediction(from:), \(options.rounds) alternating rounds of \(options.runs), \(options.warmUp) warm-up runs each apart"
    return ready.flatMap { entry -> [Row] in
        guard let found = times[entry.name], !found.isEmpty else { return [] }
        let path = "\(place)/\(entry.name)/latency"
        return statistics(found).map { .measured("\(path)/\($0.0)", $0.1, "ms", basis) }
            + [.measured("\(path)/count", Double(found.count), "runs", basis)]
    }
}

do {
    let options = try Options(Array(CommandLine.arguments.dropFirst()))
    let bundle = try BundleFiles(root: options.bundle)
    var rows: [Row] = []
    for artifact in bundle.artifacts {
        rows += try await measure(artifact, in: bundle, options)
    }
    let report = Report(
        schema: "edgekit.device-measurements/1",
        bundle: bundle.digest,
        device: ["system": ProcessInfo.processInfo.operatingSystemVersionString],
        notes: ["figures are this machine's; the bundle was made for \(plain(bundle.deviceTitle))"],
        measurements: rows
    )
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    FileHandle.standardOutput.write(try encoder.encode(report) + Data("\n".utf8))
    exit(rows.contains { $0.kind == "unknown" } ? 1 : 0)
} catch {
    say("error: \(error)")
    exit(1)
}

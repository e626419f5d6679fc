// Written by edgekit for a Mac. NOT COMPILED where it was written: no Swift compiler was there.
// Statistics of times, comparison of outputs, and the rows of the measurement JSON.
import Foundation

/// How one output compares; sqnr is nil where the two are equal.
struct Comparison {
    var sqnr: Double?
    var cosine: Double
    var maxAbs: Double

    /// SQNR is 10 log10(sum want^2 / sum (got - want)^2), as in edgekit's own report.
    init(got: [Double], want: [Double]) throws {
        guard got.count == want.count else {
            throw Failure(problem: "\(got.count) values came out where \(want.count) were expected", fix: "convert the bundle again")
        }
        var signal = 0.0, noise = 0.0, dot = 0.0, energy = 0.0, worst = 0.0
        for (left, right) in zip(got, want) {
            let same = left == right || (left.isNaN && right.isNaN)
            let difference = same ? 0.0 : left - right
            guard difference.isFinite else {
                throw Failure(problem: "the model gave \(left) where \(right) was expected", fix: "use other compute units or fp32")
            }
            if right.isFinite {
                signal += right * right
                energy += left * left
                dot += left * right
            }
            noise += difference * difference
            worst = max(worst, abs(difference))
        }
        sqnr = noise == 0 ? nil : (signal > 0 ? 10 * log10(signal / noise) : -300)
        maxAbs = worst
        if signal == 0 && energy == 0 {
            cosine = 1
        } else if signal == 0 || energy == 0 {
            cosine = 0
        } else {
            cosine = max(-1, min(1, dot / (signal * energy).squareRoot()))
        }
    }

    /// The worse of two samples, figure by figure.
    func worse(than other: Comparison) -> Comparison {
        var found = self
        found.sqnr = [sqnr, other.sqnr].compactMap { $0 }.min()
        found.cosine = min(cosine, other.cosine)
        found.maxAbs = max(maxAbs, other.maxAbs)
        return found
    }
}

/// mean, percentiles (linear between ranks), min, max and std (of the population), as (name, value).
func statistics(_ times: [Double]) -> [(String, Double)] {
    let ordered = times.sorted()
    let count = Double(ordered.count)
    let mean = ordered.reduce(0, +) / count
    let variance = ordered.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / count
    let ranks = [50, 90, 95, 99].map { ("p\($0)", percentile(ordered, Double($0))) }
    return [("mean", mean)] + ranks + [("min", ordered[0]), ("max", ordered[ordered.count - 1]), ("std", variance.squareRoot())]
}

private func percentile(_ ordered: [Double], _ rank: Double) -> Double {
    let place = Double(ordered.count - 1) * rank / 100
    let low = Int(place.rounded(.down))
    let high = min(low + 1, ordered.count - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - Double(low))
}

/// One row of edgekit's measurement JSON.
struct Row: Encodable {
    let metric: String
    let value: Double?
    let unit: String
    let kind: String
    let basis: String

    static func measured(_ metric: String, _ value: Double?, _ unit: String, _ basis: String) -> Row {
        Row(metric: plain(metric), value: value, unit: unit, kind: "measured", basis: plain(basis))
    }

    static func skipped(_ metric: String, _ unit: String, _ error: Error) -> Row {
        Row(metric: plain(metric), value: nil, unit: unit, kind: "unknown", basis: plain("not measured: \(error)"))
    }

    /// The key stays where the value is nil: edgekit wants all five.
    func encode(to encoder: Encoder) throws {
        var box = encoder.container(keyedBy: Key.self)
        try box.encode(metric, forKey: .metric)
        try box.encode(value, forKey: .value)
        try box.encode(unit, forKey: .unit)
        try box.encode(kind, forKey: .kind)
        try box.encode(basis, forKey: .basis)
    }

    private enum Key: String, CodingKey {
        case metric, value, unit, kind, basis
    }
}

/// Text without control characters, cut to 1000.
func plain(_ text: String) -> String {
    String(text.unicodeScalars.map { CharacterSet.controlCharacters.contains($0) ? " " : Character($0) }.prefix(1000))
}

/// The whole measurement JSON.
struct Report: Encodable {
    let schema: String
    let bundle: String
    let device: [String: String]
    let notes: [String]
    let measurements: [Row]
}

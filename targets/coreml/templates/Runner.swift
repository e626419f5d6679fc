// Written by edgekit for a Mac. NOT COMPILED where it was written: no Swift compiler was there.
// Core ML: compile once, load for each compute-unit setting, run, ask for the compute plan.
import CoreML
import Foundation

let settings: [(name: String, units: MLComputeUnits)] = [
    ("cpuOnly", .cpuOnly),
    ("cpuAndGPU", .cpuAndGPU),
    ("cpuAndNeuralEngine", .cpuAndNeuralEngine),
    ("all", .all),
]

/// Milliseconds of one run.
func milliseconds(_ work: () throws -> Void) rethrows -> Double {
    let start = DispatchTime.now().uptimeNanoseconds
    try work()
    return Double(DispatchTime.now().uptimeNanoseconds - start) / 1e6
}

func configuration(_ units: MLComputeUnits) -> MLModelConfiguration {
    let made = MLModelConfiguration()
    made.computeUnits = units
    return made
}

/// One model that is loaded for one setting.
struct Runner {
    let artifact: ArtifactRow
    let model: MLModel

    /// Outputs by the source's names, as doubles.
    func run(_ feeds: MLFeatureProvider) throws -> [String: [Double]] {
        let made = try model.prediction(from: feeds)
        var found: [String: [Double]] = [:]
        for row in artifact.outputs {
            guard let array = made.featureValue(for: row.name)?.multiArrayValue else {
                throw Failure(problem: "the model gives no array '\(row.name)'", fix: "convert the bundle again")
            }
            found[row.source] = try Runner.doubles(array)
        }
        return found
    }

    /// One golden sample as Core ML's features.
    func feeds(_ sample: GoldenSample, in bundle: BundleFiles) throws -> MLFeatureProvider {
        var features: [String: MLFeatureValue] = [:]
        for row in artifact.inputs {
            guard row.dtype != "image", row.dtype != "state", let file = sample.inputs[row.source] else {
                throw Failure(problem: "input '\(row.source)' is an image or a state, or has no golden data", fix: "compare it in your app")
            }
            let array = try Npy.read(bundle.file(file))
            features[row.name] = MLFeatureValue(multiArray: try Runner.multiArray(array, dtype: row.dtype))
        }
        return try MLDictionaryFeatureProvider(dictionary: features)
    }

    /// The worst figures of each output over all golden samples, by "against/output".
    func compare(with bundle: BundleFiles) throws -> [String: Comparison] {
        var worst: [String: Comparison] = [:]
        for sample in try bundle.samples(of: artifact.component) {
            let got = try run(feeds(sample, in: bundle))
            var references = [("fp32", sample.fp32)]
            if artifact.variant == "int8", let reference = sample.reference {
                references.append(("reference", reference))
            }
            for (against, files) in references {
                for row in artifact.outputs {
                    guard let file = files[row.source], let values = got[row.source] else {
                        throw Failure(problem: "output '\(row.source)' has no golden data", fix: "copy the bundle again")
                    }
                    let found = try Comparison(got: values, want: Npy.read(bundle.file(file)).values)
                    let key = "\(against)/\(row.source)"
                    worst[key] = worst[key].map { found.worse(than: $0) } ?? found
                }
            }
        }
        return worst
    }

    private static func multiArray(_ array: Array64, dtype: String) throws -> MLMultiArray {
        let shape = (array.shape.isEmpty ? [1] : array.shape).map { NSNumber(value: $0) }
        let type: MLMultiArrayDataType = dtype == "int32" ? .int32 : (dtype == "float16" ? .float16 : .float32)
        let made = try MLMultiArray(shape: shape, dataType: type)
        for (index, value) in array.values.enumerated() {
            made[index] = type == .int32 ? NSNumber(value: Int32(clamping: Int64(value))) : NSNumber(value: value)
        }
        return made
    }

    private static func doubles(_ array: MLMultiArray) throws -> [Double] {
        // By linear index: the array's strides may be padded, and the subscript minds them.
        (0..<array.count).map { array[$0].doubleValue }
    }
}

/// Operations and estimated cost by compute unit, as Core ML plans them.
func countOperations(_ plan: MLComputePlan) -> [String: (ops: Int, cost: Double)] {
    guard case .program(let program) = plan.modelStructure else { return [:] }
    var found: [String: (ops: Int, cost: Double)] = [:]
    func count(_ block: MLModelStructure.Program.Block) {
        for operation in block.operations {
            let unit = plan.deviceUsage(for: operation).map { name(of: $0.preferred) } ?? "unknown"
            let before = found[unit] ?? (0, 0)
            found[unit] = (before.ops + 1, before.cost + (plan.estimatedCost(of: operation)?.weight ?? 0))
            operation.blocks.forEach(count)
        }
    }
    program.functions.values.forEach { count($0.block) }
    return found
}

private func name(of device: MLComputeDevice) -> String {
    switch device {
    case .cpu: return "cpu"
    case .gpu: return "gpu"
    case .neuralEngine: return "neural-engine"
    @unknown default: return "unknown"
    }
}

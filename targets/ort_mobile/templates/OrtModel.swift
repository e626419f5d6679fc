// Loads @FILE@ with ONNX Runtime on iOS and macOS.
// CocoaPods: pod 'onnxruntime-objc', '>= @ORT@'   (with Swift Package Manager: import OnnxRuntimeBindings)
// Add the .ort file to the app's resources. This file was generated and NOT compiled by edgekit.
import Foundation
import onnxruntime_objc

final class @CLASS@ {
    static let modelFile = @FILE_LITERAL@
    static let outputNames: Set<String> = [@OUTPUTS@]

    private let environment: ORTEnv
    private let session: ORTSession

    init(bundle: Bundle = .main) throws {
        guard let path = bundle.path(forResource: Self.modelFile, ofType: nil) else {
            throw CocoaError(.fileNoSuchFile)
        }
        environment = try ORTEnv(loggingLevel: .warning)
        session = try ORTSession(env: environment, modelPath: path, sessionOptions: nil)
    }

    /// Raw little-endian elements, row-major; outputs by name, read with `tensorData()`.
    func run(
@PARAMETERS@
    ) throws -> [String: ORTValue] {
        var inputs: [String: ORTValue] = [:]
@TENSORS@
        return try session.run(withInputs: inputs, outputNames: Self.outputNames, runOptions: nil)
    }
}

// Written by edgekit for a Mac. NOT COMPILED where it was written: no Swift compiler was there.
// The bundle around this package: its manifest, its job, and files whose bytes are checked before use.
import CryptoKit
import Foundation

/// What failed and what to do about it.
struct Failure: Error, CustomStringConvertible {
    let problem: String
    let fix: String
    var description: String { "\(problem); \(fix)" }
}

/// One input or output: the ONNX model's name, Core ML's name and dtype, and the source's rank.
struct TensorRow: Decodable {
    let source: String
    let name: String
    let dtype: String
    let rank: Int
}

/// One package of the job.
struct ArtifactRow: Decodable {
    let component: String
    let variant: String
    let package: String
    let files: [String]
    let inputs: [TensorRow]
    let outputs: [TensorRow]
}

private struct JobFile: Decodable {
    let artifacts: [ArtifactRow]
}

private struct ManifestFile: Decodable {
    struct Device: Decodable {
        let title: String
    }
    struct File: Decodable {
        let sha256: String
    }
    struct Component: Decodable {
        let name: String
        let golden: Golden
    }
    struct Golden: Decodable {
        let samples: [GoldenSample]
    }
    let device: Device
    let files: [String: File]
    let components: [Component]
}

/// Tensor name -> file of one golden sample, as the manifest has it.
struct GoldenSample: Decodable {
    let inputs: [String: String]
    let fp32: [String: String]
    let reference: [String: String]?
}

/// One bundle folder; every file it hands out lies inside and has the manifest's bytes.
struct BundleFiles {
    let root: URL
    let digest: String
    let deviceTitle: String
    let artifacts: [ArtifactRow]
    private let sums: [String: String]
    private let golden: [String: [GoldenSample]]

    init(root: URL) throws {
        self.root = root.resolvingSymlinksInPath().standardizedFileURL
        let data = try BundleFiles.read(self.root.appendingPathComponent("manifest.json"))
        digest = BundleFiles.sum(of: data)
        let manifest = try BundleFiles.decode(ManifestFile.self, from: data, name: "manifest.json")
        deviceTitle = manifest.device.title
        sums = manifest.files.mapValues { $0.sha256 }
        golden = Dictionary(manifest.components.map { ($0.name, $0.golden.samples) }, uniquingKeysWith: { first, _ in first })
        let job = try BundleFiles.checked("mac/job.json", root: self.root, sums: sums)
        artifacts = try BundleFiles.decode(JobFile.self, from: BundleFiles.read(job), name: "mac/job.json").artifacts
    }

    /// One checked file of the bundle.
    func file(_ name: String) throws -> URL {
        try BundleFiles.checked(name, root: root, sums: sums)
    }

    /// A package folder, once each of its files is checked.
    func package(of artifact: ArtifactRow) throws -> URL {
        for name in artifact.files {
            guard name.hasPrefix(artifact.package + "/") else {
                throw Failure(problem: "file '\(name)' does not lie in '\(artifact.package)'", fix: "copy the bundle again")
            }
            _ = try file(name)
        }
        return root.appendingPathComponent(artifact.package, isDirectory: true)
    }

    /// The golden samples of one component, at least one.
    func samples(of component: String) throws -> [GoldenSample] {
        guard let found = golden[component], !found.isEmpty else {
            throw Failure(problem: "component '\(component)' has no golden sample", fix: "convert again with golden data")
        }
        return found
    }

    static func read(_ place: URL) throws -> Data {
        do {
            return try Data(contentsOf: place, options: .mappedIfSafe)
        } catch {
            throw Failure(problem: "\(place.path) cannot be read", fix: "run this inside a bundle, or give --bundle")
        }
    }

    private static func checked(_ name: String, root: URL, sums: [String: String]) throws -> URL {
        let place = root.appendingPathComponent(name).resolvingSymlinksInPath().standardizedFileURL
        guard place.path.hasPrefix(root.path + "/"), let wanted = sums[name] else {
            throw Failure(problem: "'\(name)' is no file of the manifest", fix: "copy the bundle again")
        }
        guard sum(of: try read(place)) == wanted else {
            throw Failure(problem: "'\(name)' does not have the manifest's bytes", fix: "copy the bundle again")
        }
        return place
    }

    private static func sum(of data: Data) -> String {
        SHA256.hash(data: data).map { String(format: "%02x", $0) }.joined()
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, from data: Data, name: String) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: data)
        } catch {
            throw Failure(problem: "\(name) cannot be used (\(error))", fix: "copy the bundle again")
        }
    }
}

// swift-tools-version:5.9
// Written by edgekit for a Mac. NOT COMPILED where it was written: no Swift compiler was there.
// Build and run: swift run -c release --package-path mac/swift edgekit-mac > measurements.json
import PackageDescription

let package = Package(
    name: "EdgekitMac",
    // MLComputePlan needs macOS 14.4; the packages themselves may need a later one.
    platforms: [.macOS("14.4")],
    targets: [
        .executableTarget(name: "edgekit-mac", path: "Sources/EdgekitMac")
    ]
)

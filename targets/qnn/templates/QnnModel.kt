// Loads the context of this phone's chip (@CHIPS@) on its Hexagon NPU with ONNX Runtime and its QNN provider.
// Gradle: implementation("com.microsoft.onnxruntime:onnxruntime-android:1.24.3")  (this version or a newer one)
//         implementation("com.qualcomm.qti:onnxruntime-android-qnn:@QNN@"), implementation("com.qualcomm.qti:qnn-runtime:@QAIRT@")
// A context runs on the QNN runtime that made it (@QAIRT@) or a newer one. Manifest: extractNativeLibs="true".
// Copy the folder into the app's files: a context is read from a path. Generated, and NOT compiled by edgekit.
// The other way to this NPU is LiteRT: the bundle of the same phone's `litert` device (edgekit convert --target @LITERT@,
// compiled ahead with --option litert.aot=CHIP) has a class that takes Accelerator.NPU.
package edgekit.generated

import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.content.Context
import android.os.Build
import java.io.File

/** folder: where the contexts' folders lie. chip: a key of CONTEXTS; Android 12 and later know their own. */
class @CLASS@(context: Context, folder: File, chip: String = Build.SOC_MODEL) : AutoCloseable {
    private val environment: OrtEnvironment = OrtEnvironment.getEnvironment()
    private val session: OrtSession

    init {
        val name = CONTEXTS.entries.firstOrNull { chip.startsWith(it.key) }?.value
        checkNotNull(name) { "no context for the chip '$chip': there are ${CONTEXTS.keys}" }
        val libraries = context.applicationInfo.nativeLibraryDir
        registerOnce(environment, "$libraries/libonnxruntime_providers_qnn.so")
        val npu = environment.epDevices.filter { it.epName == PROVIDER }
        check(npu.isNotEmpty()) { "no Qualcomm NPU on this phone" }
        session = OrtSession.SessionOptions().use { options ->
            options.addExecutionProvider(npu, mapOf("backend_path" to "$libraries/libQnnHtp.so", "htp_performance_mode" to "burst"))
            environment.createSession(File(folder, "$name/@MODEL@").path, options)
        }
    }

    /** Inputs by name, each of the shape and type in INPUTS; the results must be closed by the caller. */
    fun run(inputs: Map<String, OnnxTensor>): OrtSession.Result = session.run(inputs)

    override fun close() = session.close()

    companion object {
        const val PROVIDER = "QNNExecutionProvider"
        val CONTEXTS = mapOf(@CONTEXTS@)
        val INPUTS = listOf(@INPUTS@)
        val OUTPUTS = listOf(@OUTPUTS@)
        private var registered = false

        @AT@Synchronized
        private fun registerOnce(environment: OrtEnvironment, library: String) {
            if (!registered) environment.registerExecutionProviderLibrary(PROVIDER, library)
            registered = true
        }
    }
}

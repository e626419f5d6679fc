// Loads @FILE@ with ONNX Runtime on Android.
// Gradle: implementation("com.microsoft.onnxruntime:onnxruntime-android:@ORT@")  (this version or a newer one)
// Put the .ort file into src/main/assets. This file was generated and NOT compiled by edgekit.
package edgekit.generated

import ai.onnxruntime.OnnxJavaType
import ai.onnxruntime.OnnxTensor
import ai.onnxruntime.OrtEnvironment
import ai.onnxruntime.OrtSession
import android.content.Context
import java.nio.ByteBuffer

class @CLASS@(context: Context) : AutoCloseable {
    private val environment: OrtEnvironment = OrtEnvironment.getEnvironment()
    private val session: OrtSession

    init {
        val model = context.assets.open(MODEL_FILE).use { it.readBytes() }
        session = OrtSession.SessionOptions().use { options -> environment.createSession(model, options) }
    }

    /** Direct buffers in native byte order, row-major; the results must be closed by the caller. */
    fun run(
@PARAMETERS@
    ): OrtSession.Result {
        val tensors = LinkedHashMap<String, OnnxTensor>()
        try {
@TENSORS@
            return session.run(tensors, OUTPUT_NAMES)
        } finally {
            tensors.values.forEach { it.close() }
        }
    }

    override fun close() = session.close()

    companion object {
        const val MODEL_FILE = @FILE_LITERAL@
        val OUTPUT_NAMES: Set<String> = linkedSetOf(@OUTPUTS@)
    }
}

// Runs @FILE@ with LiteRT on Android.
// Gradle: implementation("com.google.ai.edge.litert:litert:@VERSION@")  (this version or a newer one)
// Put the .tflite file into src/main/assets. This file was generated and NOT compiled by edgekit.
package edgekit.generated

import android.content.Context
import com.google.ai.edge.litert.Accelerator
import com.google.ai.edge.litert.CompiledModel

/** Inputs, in this order: @INPUTS@. Outputs: @OUTPUTS@. All row-major, in the layout of the ONNX model. */
class @CLASS@(context: Context, accelerator: Accelerator = Accelerator.CPU) : AutoCloseable {
    private val model: CompiledModel =
        CompiledModel.create(context.assets, MODEL_FILE, CompiledModel.Options(accelerator))
    private val inputs = model.createInputBuffers()
    private val outputs = model.createOutputBuffers()

    /** One run; Accelerator.GPU or .NPU may refuse operators, so compare with .CPU on your device first. */
    fun run(
@PARAMETERS@
    ): List<@OUTPUT_ARRAY@> {
@WRITES@
        model.run(inputs, outputs)
        return outputs.map { it.@READ@() }
    }

    override fun close() = model.close()

    companion object {
        const val MODEL_FILE = @FILE_LITERAL@
    }
}

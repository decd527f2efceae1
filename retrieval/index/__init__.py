"""Finding samples by what they teach: embeddings, the vector store, rankings, and the index of skills."""

# The image of every `tuner` process: workers, the dashboard, single commands. See docs/deploy.md.
#
#   docker build -t puffin-tuner .
#   docker build -t puffin-tuner:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .

# The version that the tests run on, by a tag that names one release.
ARG PYTHON=3.11.14

FROM python:${PYTHON}-slim-bookworm AS build
# Without CUDA torch is a fraction of the size; PyPI's wheels for Linux on x86-64 bring CUDA along.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# By version alone, for the files of the two indexes have different hashes.
ARG TORCH=2.13.0
WORKDIR /src
RUN python -m venv --without-pip /opt/tuner
# Before the source, so that a change of the source installs none of this again.
COPY deploy/requirements.lock deploy/build-requirements.lock ./
# torch from this index alone: beside another one pip would take whichever version is higher.
# 200 MB of it are for those who compile against it or test it; its import asks for the manager.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/tuner/bin/python install --require-hashes -r requirements.lock \
 && pip --python /opt/tuner/bin/python install --index-url "$TORCH_INDEX" "torch==$TORCH" \
 && pip install --require-hashes -r build-requirements.lock \
 && rm -rf /opt/tuner/lib/python*/site-packages/torch/include \
      /opt/tuner/lib/python*/site-packages/torch/test \
 && find /opt/tuner/lib/python*/site-packages/torch/bin -type f ! -name torch_shm_manager -delete
COPY . ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip wheel --no-deps --no-build-isolation --wheel-dir /wheels . \
 && pip --python /opt/tuner/bin/python install --no-deps /wheels/*.whl

FROM python:${PYTHON}-slim-bookworm
LABEL org.opencontainers.image.title="Puffin Tuner" \
      org.opencontainers.image.licenses="Apache-2.0 AND LGPL-3.0-only" \
      org.opencontainers.image.documentation="/usr/share/doc/puffin-tuner/NOTICE"
RUN useradd --uid 10001 --no-log-init --no-create-home puffin
COPY --from=build /opt/tuner /opt/tuner
COPY LICENSE deploy/NOTICE deploy/requirements.lock /usr/share/doc/puffin-tuner/
# A home that any user may write to, also one whom the image does not know.
ENV PATH=/opt/tuner/bin:$PATH \
    HOME=/tmp
# By number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
WORKDIR /work
CMD ["tuner", "--help"]

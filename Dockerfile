# The image of every `tuner` process: workers, the dashboard, single commands. See docs/deploy.md.
#
#   docker build -t puffin-tuner .
#   docker build -t puffin-tuner:cuda --build-arg TORCH_INDEX=https://pypi.org/simple .

# The version that the tests run on.
ARG PYTHON=3.11

FROM python:${PYTHON}-slim AS build
# Without CUDA torch is a fraction of the size; PyPI's wheels for Linux on x86-64 bring CUDA along.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
WORKDIR /src
RUN python -m venv --without-pip /opt/tuner
# Before the source, so that a change of the source installs none of this again.
COPY pyproject.toml ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > requirements.txt \
 && grep '^torch[<>=]' requirements.txt > torch.txt
# torch from this index alone: beside another one pip would take whichever version is higher.
# 200 MB of it are for those who compile against it or test it; its import asks for the manager.
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/tuner/bin/python install --index-url "$TORCH_INDEX" -r torch.txt \
 && pip --python /opt/tuner/bin/python install -r requirements.txt \
 && rm -rf /opt/tuner/lib/python*/site-packages/torch/include \
      /opt/tuner/lib/python*/site-packages/torch/test \
 && find /opt/tuner/lib/python*/site-packages/torch/bin -type f ! -name torch_shm_manager -delete
COPY . ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip --python /opt/tuner/bin/python install --no-deps .

FROM python:${PYTHON}-slim
RUN useradd --uid 10001 --no-log-init --no-create-home puffin
COPY --from=build /opt/tuner /opt/tuner
# A home that any user may write to, also one whom the image does not know.
ENV PATH=/opt/tuner/bin:$PATH \
    HOME=/tmp
# By number: Kubernetes cannot tell from a name that it is not root.
USER 10001:10001
WORKDIR /work
CMD ["tuner", "--help"]
